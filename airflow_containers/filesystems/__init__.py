"""A container as a file system, for ``ObjectStoragePath`` and everything else that speaks fsspec."""

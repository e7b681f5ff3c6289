"""The only way out of a container: a proxy that lets requests through to allowed domains."""

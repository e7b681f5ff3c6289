"""What the file system raises by itself."""

from __future__ import annotations

import errno
from typing import NoReturn


def missing(path: str) -> FileNotFoundError:
    """Return the error for a path at which there is nothing."""
    return FileNotFoundError(errno.ENOENT, "There is no such file or folder in the container", path)


def is_folder(path: str) -> IsADirectoryError:
    """Return the error for a folder where a file is needed."""
    return IsADirectoryError(errno.EISDIR, "It is a folder", path)


def is_there(path: str, kind: str) -> FileExistsError:
    """Return the error for a path at which there must be nothing yet.

    :param kind: what is there, ``file`` or ``directory``.
    """
    return FileExistsError(errno.EEXIST, f"There is a {kind} already", path)


def refuse(what: str, instead: str) -> NoReturn:
    """Refuse what the service cannot do.

    :param what: what was asked for, and why it cannot be done.
    :param instead: what to do.
    :raises NotImplementedError: always.
    """
    raise NotImplementedError(f"{what}. {instead}")

"""Errors of the API as what users of files expect."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from airflow_containers.api.errors import ContainerFileNotFoundError, ContainerGoneError


class ContainerMissingError(ContainerGoneError, FileNotFoundError):
    """The container of a path has expired or was deleted, and its files with it.

    Both a :class:`~airflow_containers.api.ContainerGoneError` and a :class:`FileNotFoundError`.
    """


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


@contextmanager
def file_errors(path: str) -> Iterator[None]:
    """Raise what says that a file or container is not there as a :class:`FileNotFoundError`.

    All other errors stay what they are, also a 404 of an address where no API is.

    :param path: the path that is worked with, as the file system knows it.
    """
    try:
        yield
    except ContainerGoneError as error:
        raise ContainerMissingError(
            f"{path}: the container has expired or was deleted, and its files with it ({error})",
            status_code=error.status_code,
            detail=error.detail,
            type=error.type,
            param=error.param,
            code=error.code,
            request_id=error.request_id,
            retry_after=error.retry_after,
        ) from error
    except ContainerFileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, f"The service has no such file ({error})", path) from error

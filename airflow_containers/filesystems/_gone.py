"""Errors of the API as what users of files expect.

Apart, because Airflow up to 3.1 imports the file system with every operator, and the API has no part in that.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from airflow_containers.api.errors import ContainerFileNotFoundError, ContainerGoneError


class ContainerMissingError(ContainerGoneError, FileNotFoundError):
    """The container of a path has expired or was deleted, and its files with it.

    Both a :class:`~airflow_containers.api.ContainerGoneError` and a :class:`FileNotFoundError`.
    """


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

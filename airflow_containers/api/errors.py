"""Every way a call can fail, one class per thing a DAG author would do something about.

::

    ContainersError
    ├── ConfigurationError            the client's options are wrong; nothing was sent
    ├── InvalidRequestError           the request breaks a rule of the API; nothing was sent
    ├── APIConnectionError            no answer: refused, reset, name not found, TLS
    │   └── APITimeoutError           no answer in time
    ├── InvalidResponseError          an answer that this API does not give (HTML, broken JSON, no id)
    ├── AmbiguousCreateError          a create that may have happened; look the name up before another
    ├── AmbiguousUploadError          an upload that may have happened; look for the file before another
    ├── SourceChangedError            a file that changed while it was sent
    ├── LocalFileError                a file on the worker cannot be read or written; the disk is full
    ├── ContainerNotDeletedError      a delete that was answered, and the container is still there
    └── APIStatusError                an answer with an error status
        ├── RedirectError             3xx: the base URL points somewhere else
        ├── BadRequestError           400, 413, 422 and other 4xx
        ├── AuthenticationError       401: the key is wrong
        ├── PermissionDeniedError     403, and 401 that names missing scopes
        ├── NotFoundError             404
        │   ├── ContainerFileNotFoundError   no such file in the container
        │   └── ContainerGoneError    expired (400 "Container is expired.") or deleted (404)
        ├── ConflictError             409
        ├── RateLimitError            429: too fast
        │   └── QuotaExceededError    429: nothing left to spend; waiting does not help
        └── ServerError               408, 5xx
"""

from __future__ import annotations

from typing import ClassVar


class ContainersError(Exception):
    """Base of all errors of this package's wire layer.

    :cvar retryable: whether the same call may succeed later without anybody changing anything.
    """

    retryable: ClassVar[bool] = False


class ConfigurationError(ContainersError, ValueError):
    """A client option or a connection's field is missing or wrong; nothing was sent."""


class InvalidRequestError(ContainersError, ValueError):
    """An argument breaks a rule of the API and was refused before anything was sent."""


class APIConnectionError(ContainersError):
    """No answer came: connection refused or reset, host not found, TLS failure."""

    retryable = True


class APITimeoutError(APIConnectionError):
    """No complete answer came in the time that was allowed."""


class InvalidResponseError(ContainersError):
    """An answer that the API does not give: not JSON, not an object, no id, or endless.

    :param status_code: HTTP status of the answer, if one was read.
    :param request_id: the answer's ``x-request-id``, if it had one.
    """

    retryable = True

    def __init__(
        self, message: str, *, status_code: int | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.request_id = request_id


class AmbiguousCreateError(ContainersError):
    """A create request may have reached the server, and no usable answer came back.

    The API has no idempotency key, so a client does not repeat the request: a second one could make a second
    container. A container called :attr:`name` may or may not exist; a create task then does what
    :mod:`airflow_containers.creation` says.

    :param name: the container's name, as it was sent.
    :param status_code: HTTP status of the answer, if one was read.
    :param request_id: the answer's ``x-request-id``, if it had one.
    """

    retryable = True

    def __init__(
        self,
        message: str,
        *,
        name: str = "",
        status_code: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.name = name
        self.status_code = status_code
        self.request_id = request_id


class AmbiguousUploadError(ContainersError):
    """An upload was sent as a whole, and no usable answer came back.

    The API has no idempotency key, so the client does not repeat it: a second one could make a second file.
    The hook looks for the file and sends it again only if it is not there.

    :param name: the file's name, as it was sent; empty where the request has none.
    :param status_code: HTTP status of the answer, if one was read.
    :param request_id: the answer's ``x-request-id``, if it had one.
    """

    retryable = True

    def __init__(
        self,
        message: str,
        *,
        name: str = "",
        status_code: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.name = name
        self.status_code = status_code
        self.request_id = request_id


class SourceChangedError(ContainersError):
    """A file has more or fewer bytes than it had when its upload began. The request was not finished."""

    retryable = True


class LocalFileError(ContainersError, OSError):
    """A file on the worker cannot be read or written: it is missing, not permitted, or the disk is full."""

    retryable = True


class ContainerNotDeletedError(ContainersError):
    """The service has answered a delete request, and the container is still alive."""

    retryable = True


class APIStatusError(ContainersError):
    """An answer with an error status.

    :param message: what to show a person: operation, status, the service's text and the request id.
    :param status_code: HTTP status.
    :param detail: the service's own message, with secrets taken out.
    :param type: ``error.type`` of the body, e.g. ``invalid_request_error``.
    :param param: ``error.param``: the request field that the service names.
    :param code: ``error.code``, e.g. ``integer_above_max_value``; often null.
    :param request_id: the answer's ``x-request-id``.
    :param retry_after: seconds the service asked to wait, if it did.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int = 0,
        detail: str | None = None,
        type: str | None = None,  # noqa: A002 - the API's own name for it
        param: str | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.detail = detail
        self.type = type
        self.param = param
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after


class RedirectError(APIStatusError):
    """The server answered with a redirect, which is never followed: it would carry the key elsewhere."""


class BadRequestError(APIStatusError):
    """The service refused the request as it stands (400, 413, 422 and other 4xx)."""


class AuthenticationError(APIStatusError):
    """The API key is missing, wrong or revoked (401)."""


class PermissionDeniedError(APIStatusError):
    """The API key is known and may not do this (403, or 401 that names missing scopes)."""


class NotFoundError(APIStatusError):
    """There is nothing at that address (404)."""


class ContainerGoneError(NotFoundError):
    """The container has expired or was deleted, and cannot come back."""


class ContainerFileNotFoundError(NotFoundError):
    """The container has no such file, or lists one that it cannot give out."""


class ConflictError(APIStatusError):
    """The service was busy with the same thing (409)."""

    retryable = True


class RateLimitError(APIStatusError):
    """Too many requests in a short time (429); later is better."""

    retryable = True


class QuotaExceededError(RateLimitError):
    """Nothing left to spend (429); waiting does not help, somebody has to change the plan or the limit."""

    retryable = False


class ServerError(APIStatusError):
    """The service or something before it failed (408, 5xx)."""

    retryable = True

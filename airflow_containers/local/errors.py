"""What every service of the local server answers when it refuses, in the platform's envelope.

::

    ApiError
    ├── InvalidRequestError       400, a request that breaks a rule; `param` and `code` say which
    ├── CommandsUnavailableError  400, this machine cannot isolate commands
    ├── UnauthorizedError         401, no key or a wrong key
    ├── WebPageError              403, a web page calls a server that has no key
    ├── UnknownUrlError           404, no such route
    ├── MethodNotAllowedError     405, the route exists for other methods
    ├── PayloadTooLargeError      413, the request body or a file in it is over the server's limit
    └── InternalError             500, a fault of this server
"""

from __future__ import annotations

from typing import Any, ClassVar


class ApiError(Exception):
    """An answer with an error status.

    :cvar status: HTTP status.
    :cvar type: ``error.type`` of the body.
    :param message: ``error.message``; never contains a value that may be a secret.
    :param param: path of the field at fault, such as ``network_policy.allowed_domains[0]``.
    :param code: ``error.code``, such as ``integer_above_max_value``.
    """

    status: ClassVar[int] = 400
    type: ClassVar[str] = "invalid_request_error"

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code

    @property
    def headers(self) -> dict[str, str]:
        """Headers that belong to this error."""
        return {}

    def body(self) -> dict[str, Any]:
        """The platform's error envelope."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


class InvalidRequestError(ApiError):
    """A request that breaks a rule of the API (400)."""


class CommandsUnavailableError(ApiError):
    """This machine cannot isolate commands, so none is run (400).

    :param problem: why, and what to install.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(f"This server cannot run commands: {problem}", code="commands_unavailable")


class UnauthorizedError(ApiError):
    """No key, or not the server's key (401). The key that was sent is never repeated."""

    status = 401

    @classmethod
    def missing(cls) -> UnauthorizedError:
        """No key was sent."""
        return cls(
            "You didn't provide an API key. You need to provide your API key in an Authorization header "
            "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
        )

    @classmethod
    def incorrect(cls) -> UnauthorizedError:
        """A key was sent that this server does not accept."""
        return cls(
            "Incorrect API key provided. Use the key that the local server was started with (--api-key).",
            code="invalid_api_key",
        )


class WebPageError(ApiError):
    """A web page calls, or could be calling, and the server has no key (403).

    :param header: the header that shows it.
    :param value: of that header.
    """

    status = 403

    def __init__(self, header: str, value: str) -> None:
        super().__init__(
            f"Refused for its header '{header}: {value[:100]}': without an --api-key, the server takes no "
            "requests from web pages, nor admin requests under any other name than localhost or a loopback "
            "address. Start the server with --api-key and send that key."
        )


class UnknownUrlError(ApiError):
    """No route has this path (404)."""

    status = 404

    def __init__(self, method: str, path: str) -> None:
        super().__init__(f"Invalid URL ({method} {path})")


class MethodNotAllowedError(ApiError):
    """The route exists, but not for this method (405).

    :param allowed: methods that the route has, for the ``Allow`` header.
    """

    status = 405

    def __init__(self, method: str, path: str, allowed: list[str]) -> None:
        super().__init__(f"Invalid method for URL ({method} {path})")
        self.allowed = allowed

    @property
    def headers(self) -> dict[str, str]:
        """The ``Allow`` header, as HTTP demands."""
        return {"allow": ", ".join(self.allowed)}


class PayloadTooLargeError(ApiError):
    """The request body, or a file in it, is longer than the server takes (413).

    :param limit: the limit in bytes.
    :param what: is too long.
    """

    status = 413

    def __init__(self, limit: int, what: str = "Request body") -> None:
        super().__init__(f"{what} too large. Expected at most {limit} bytes.")


class InternalError(ApiError):
    """A fault of the local server itself (500)."""

    status = 500
    type = "server_error"

    def __init__(self) -> None:
        super().__init__("The server had an error while processing your request. Sorry about that!")

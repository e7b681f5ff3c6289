"""The verdict of a connection test, in words that say what to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_containers.api import errors

if TYPE_CHECKING:
    from airflow_containers.api import ContainersClient


def try_to_list(client: ContainersClient) -> tuple[bool, str]:
    """List one container and return whether that worked, and what it means."""
    base_url = client.options.base_url
    try:
        client.list(limit=1)
    except errors.ContainersError as error:
        return False, f"{_meaning(error, base_url)} {str(error).rstrip('.')}."
    return True, f"Connected to {base_url}: the key may list containers."


def _meaning(error: errors.ContainersError, base_url: str) -> str:
    match error:
        case errors.AuthenticationError():
            return f"Wrong API key: {base_url} does not accept the password of this connection."
        case errors.PermissionDeniedError():
            return f"No permission: {base_url} knows the API key, and does not let it use containers."
        case errors.APITimeoutError():
            return f"Unreachable: {base_url} does not answer in time. Check host, port, proxy and firewall."
        case errors.APIConnectionError():
            return (
                f"Unreachable: there is no connection to {base_url}. Check host, port, proxy and firewall; a "
                "server without TLS needs 'http://' in the host."
            )
        case errors.RedirectError() | errors.NotFoundError() | errors.InvalidResponseError():
            return f"Wrong base URL: what answers at {base_url} is not the Containers API."
        case errors.RateLimitError():
            return f"The API key works at {base_url}, and has no requests left right now."
        case errors.ServerError():
            return f"{base_url} has trouble of its own; the connection may be right."
        case _:
            return f"{base_url} answers with an error."

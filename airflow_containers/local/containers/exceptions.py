"""What ``/v1/containers`` refuses beyond a wrong request."""

from __future__ import annotations

from airflow_containers.local.errors import ApiError, InvalidRequestError


class ContainerNotFoundError(ApiError):
    """No such container, or deleted (404; ``code`` and ``param`` are null, as the service has it)."""

    status = 404

    def __init__(self, container_id: str) -> None:
        super().__init__(f"Container with id '{container_id}' not found.")


class ContainerExpiredError(ApiError):
    """The container has expired: what was in it is gone (400; ``code`` and ``param`` are null)."""

    def __init__(self) -> None:
        super().__init__("Container is expired.")


class DomainNotAllowedError(InvalidRequestError):
    """A domain is not among those that the operator of the server lets containers reach (400).

    :param index: of the domain in ``allowed_domains``.
    """

    def __init__(self, index: int) -> None:
        param = f"network_policy.allowed_domains[{index}]"
        super().__init__(
            f"Invalid '{param}': this domain is not in the organization's allow list. Expected one of the "
            "domains that the local server was started with (--allow-domains).",
            param=param,
            code="invalid_value",
        )


class UnknownCursorError(InvalidRequestError):
    """``after`` names no container that ever was (400)."""

    def __init__(self) -> None:
        super().__init__(
            "Invalid 'after': no container with this id. Expected the id of a container from the list.",
            param="after",
            code="invalid_value",
        )

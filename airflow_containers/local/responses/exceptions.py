"""What ``/v1/responses`` refuses beyond a wrong request."""

from __future__ import annotations

from airflow_containers.local.errors import ApiError, InvalidRequestError


class ResponseNotFoundError(ApiError):
    """No such response, deleted, or one that was not to be stored (404)."""

    status = 404

    def __init__(self, response_id: str) -> None:
        super().__init__(f"Response with id '{response_id}' not found.")


class PreviousResponseNotFoundError(InvalidRequestError):
    """``previous_response_id`` names no response that is there (400)."""

    def __init__(self, response_id: str) -> None:
        super().__init__(
            f"Previous response with id '{response_id}' not found.",
            param="previous_response_id",
            code="previous_response_not_found",
        )


class PreviousResponseNotDoneError(InvalidRequestError):
    """``previous_response_id`` names a response that still runs (400)."""

    def __init__(self, response_id: str) -> None:
        super().__init__(
            f"Previous response with id '{response_id}' is not done yet. Wait until its status is neither "
            "'queued' nor 'in_progress'.",
            param="previous_response_id",
        )


class NotInBackgroundError(InvalidRequestError):
    """Only what runs in the background can be cancelled (400)."""

    def __init__(self) -> None:
        super().__init__("Cannot cancel a synchronous response.")


class NotStreamedError(InvalidRequestError):
    """Events were asked for of a response that was not made with them (400)."""

    def __init__(self, response_id: str) -> None:
        super().__init__(
            f"Response with id '{response_id}' cannot be streamed: only one that was created with both "
            "'background' and 'stream' can.",
            param="stream",
        )


class ReplayedContainerError(InvalidRequestError):
    """A replayed ``code_interpreter_call`` names a container that is gone (400)."""

    def __init__(self, container_id: str) -> None:
        super().__init__(f"Expected container_id: {container_id}")


class ContextTooLongError(InvalidRequestError):
    """Input and what came before are more than a model is given (400)."""

    def __init__(self) -> None:
        super().__init__(
            "Your input exceeds the context window of this model. Please adjust your input and try again.",
            param="input",
            code="context_length_exceeded",
        )

"""What ``/v1/skills`` refuses beyond a wrong request, and what is wrong with a skill."""

from __future__ import annotations

from airflow_containers.local.errors import ApiError, InvalidRequestError


class BadSkillError(ValueError):
    """A skill breaks a rule; the message is a sentence that says which, and where."""


class InvalidSkillError(InvalidRequestError):
    """A request has a skill that breaks a rule (400).

    :param param: the field that has it.
    """

    def __init__(self, param: str, problem: BadSkillError) -> None:
        super().__init__(f"Invalid '{param}': {problem}", param=param, code="invalid_value")


class SkillNotFoundError(ApiError):
    """No such skill, or deleted (404)."""

    status = 404

    def __init__(self, skill_id: str) -> None:
        super().__init__(f"Skill with id '{skill_id}' not found.")


class SkillVersionNotFoundError(ApiError):
    """The skill has no such version (404)."""

    status = 404

    def __init__(self, skill_id: str, version: str) -> None:
        super().__init__(f"Version '{version[:64]}' of skill '{skill_id}' not found.")


class UnknownSkillReferenceError(InvalidRequestError):
    """A request refers to a skill, or to a version, that is not there (400).

    :param param: the field that names it.
    """

    def __init__(self, param: str, error: ApiError) -> None:
        super().__init__(f"Invalid '{param}': {error.message}", param=param, code="invalid_value")


class DefaultVersionError(InvalidRequestError):
    """The default version of a skill that has others cannot be deleted (400)."""

    def __init__(self, version: int) -> None:
        super().__init__(
            f"Version '{version}' is the default version of this skill. "
            "Set another default version before you delete it."
        )

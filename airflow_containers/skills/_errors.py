"""What is wrong with a skill."""

from __future__ import annotations

from collections.abc import Sequence


class SkillError(ValueError):
    """A folder or a zip is no skill.

    :param problems: one sentence each: the file, what was found, and what to do.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems: Sequence[str] = problems


class SkillChangedError(SkillError):
    """A file changed while the folder was being packed; another try may find it at rest."""

"""What a local server writes to its standard error."""

from __future__ import annotations


def complaints(stderr: str) -> list[str]:
    """The lines beside the one about how commands are isolated, which every start has."""
    return [line for line in stderr.splitlines() if not line.startswith(("commands ", "commands: "))]

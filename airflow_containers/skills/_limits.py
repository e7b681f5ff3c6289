"""The service's limits of a skill, from its guide; see also https://agentskills.io/specification."""

from __future__ import annotations

from typing import Final

MAX_FILES: Final = 500
"""Files of one version."""

MAX_FILE_BYTES: Final = 25 * 1024 * 1024
"""Bytes of one file. The guide says "25 MB"; that it counts in powers of two is concluded from the API's
limit for the Base64 text of a zip, which is 67 MiB exactly."""

MAX_ZIP_BYTES: Final = 50 * 1024 * 1024
"""Bytes of the zip; see :data:`MAX_FILE_BYTES`."""

MAX_NAME_LENGTH: Final = 64
MAX_DESCRIPTION_LENGTH: Final = 1024
MAX_COMPATIBILITY_LENGTH: Final = 500

MAX_PART_BYTES: Final = 255
"""Bytes of one part of a path; no Linux file system takes more."""

MAX_PATH_BYTES: Final = 1024
"""Bytes of a path in the zip. The service documents no limit, so this one is ours."""

MAX_ENTRIES: Final = 10_000
"""Files and folders looked at, ignored ones not counted: a wrong path should not cost the walk of a disk."""

MAX_FRONT_MATTER_BYTES: Final = 64 * 1024
"""Bytes of SKILL.md in which the front matter has to end; ours."""


def in_units(size: int) -> str:
    """Return a number of bytes as a person reads it, such as ``26.1 MB``."""
    if size < 1024:
        return f"{size} bytes"
    return f"{size / 1024:.1f} KB" if size < 1024 * 1024 else f"{size / (1024 * 1024):.1f} MB"

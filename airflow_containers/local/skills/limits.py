"""Limits of skills: the published ones, with MB taken for MiB, and bounds of this server."""

from __future__ import annotations

MAX_ZIP_BYTES = 50 << 20
MAX_FILES = 500
MAX_FILE_BYTES = 25 << 20

MAX_UNPACKED_BYTES = 512 << 20
"""Of all files of one skill, and of all skills of one container; nothing is published."""

MAX_FOLDERS = 1000
MAX_PATH_BYTES = 1024
MAX_NAME_BYTES = 255
MAX_FRONT_MATTER_BYTES = 64 << 10

"""Counts the memory of containers that no control group bounds. Standard library only.

Limits of single processes leave out what processes share: maps without a file, and files in memory, which
need not even be mapped.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


def used_memory(pids: list[int], devices: set[int], limit: int) -> int:
    """Count what processes use.

    :param pids: of all of them.
    :param devices: with the folders of a container; files there are not in memory.
    :param limit: what is counted roughly, but never as less than it is, up to here.
    """
    files = _files_in_memory(pids, devices)
    rough = files + sum(map(_resident, pids))
    if rough <= limit:
        return rough
    own = shared = 0
    for pid in pids:
        found = _parts(pid)
        own += found[0]
        shared += found[1]
    # A file in memory that is mapped is among both.
    return own + max(shared, files)


def _resident(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE
    return 0


def _parts(pid: int) -> tuple[int, int]:
    """A process's share of its private memory, and of what it has in common with others."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
        sizes = {
            name: int(rest.split()[0]) << 10 for name, _, rest in (line.partition(":") for line in lines)
        }
        return sizes["Pss_Anon"], sizes["Pss_Shmem"]
    return 0, 0


def _files_in_memory(pids: list[int], devices: set[int]) -> int:
    sizes: dict[tuple[int, int], int] = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    status = entry.stat()
                    if stat.S_ISREG(status.st_mode) and not status.st_nlink and status.st_dev not in devices:
                        sizes[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(sizes.values())

"""Moving 512 MB, and 1,000 small files, with the hook, bare httpx and the ``openai`` package.

The server throws away what it is sent and makes up what it sends, and files are in memory, so that the client
is what is measured. Each run has a process of its own. "Added" is the peak of its memory on top of what is
resident after the imports and one small transfer (Linux only).
"""

from __future__ import annotations

from pathlib import Path

from _common import clean_environment, describe_machine, is_quick, print_goal, print_ratio
from _transfer_once import THREADS
from _transfers import (
    HOOK,
    HTTPX,
    OPENAI,
    folder,
    in_turns,
    make_file,
    median,
    print_sides,
    sink,
    speed,
)

BYTES = 512_000_000
SMALL_BYTES = 10_000
FILES = 1_000
ROUNDS = 7
MAX_MEBIBYTES = 4
MIN_SPEED = 0.9


def main() -> None:
    """Measure, and print tables, ratios and goals."""
    size, files, rounds = (2_000_000, 20, 1) if is_quick(__doc__) else (BYTES, FILES, ROUNDS)
    with clean_environment(), sink() as base_url, folder() as place:
        describe_machine("apache-airflow", "httpx", "openai")
        large = make_file(place / "data.bin", size)
        for operation in ("upload", "download"):
            _measure_large(operation, base_url, large, size, rounds)
        large.unlink()
        _measure_many(base_url, make_file(place / "small.bin", SMALL_BYTES), files, rounds)


def _measure_large(operation: str, base_url: str, file: Path, size: int, rounds: int) -> None:
    print(f"\n{operation} of {size // 1_000_000} MB, {rounds} times each")
    results = in_turns(operation, base_url, file, size, rounds)
    print_sides(results, "MB", size / 1_000_000)
    for peer in (HTTPX, OPENAI):
        print_ratio(f"{HOOK}, {operation}, speed,", peer, speed(results, HOOK, peer))
    added = median(results, HOOK, "mebibytes")
    ratio = speed(results, HOOK, HTTPX)
    print_goal(
        f"{operation}: at most {MAX_MEBIBYTES} MiB added",
        met=added <= MAX_MEBIBYTES,
        shown=f"{added:.1f} MiB",
    )
    print_goal(
        f"{operation}: at least {MIN_SPEED} of the speed of bare httpx",
        met=ratio >= MIN_SPEED,
        shown=f"{ratio:.2f}",
    )


def _measure_many(base_url: str, file: Path, files: int, rounds: int) -> None:
    print(
        f"\n{files:,} files of {SMALL_BYTES // 1000} KB, up and down, {THREADS} threads, {rounds} times each"
    )
    results = in_turns("many", base_url, file, files, rounds)
    print_sides(results, "files", files)
    for peer in (HTTPX, OPENAI):
        print_ratio(f"{HOOK}, small files, speed,", peer, speed(results, HOOK, peer))


if __name__ == "__main__":
    main()

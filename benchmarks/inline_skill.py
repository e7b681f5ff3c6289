"""A create call with a skill of 50 MB in it, with the hook, bare httpx and the ``openai`` package.

The zip is a file that is there already, in memory; it is sent as Base64 inside of the JSON of the request.
Each run has a process of its own. "Added" is the peak of its memory on top of what is resident after the
imports and one small call (Linux only).
"""

from __future__ import annotations

from _common import clean_environment, describe_machine, is_quick, print_goal, print_ratio
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

BYTES = 50_000_000
ROUNDS = 9
MAX_MEBIBYTES = 4
MIN_SPEED = 4


def main() -> None:
    """Measure, and print a table, the ratios and the goals."""
    size, rounds = (2_000_000, 1) if is_quick(__doc__) else (BYTES, ROUNDS)
    with clean_environment(), sink() as base_url, folder() as place:
        describe_machine("apache-airflow", "httpx", "openai", "pydantic")
        print(f"\ncreate with a skill of {size // 1_000_000} MB, {rounds} times each")
        results = in_turns("skill", base_url, make_file(place / "skill.zip", size), size, rounds)
    print_sides(results, "MB", size / 1_000_000)
    for peer in (HTTPX, OPENAI):
        print_ratio(f"{HOOK}, speed,", peer, speed(results, HOOK, peer))
    added = median(results, HOOK, "mebibytes")
    ratio = speed(results, HOOK, OPENAI)
    print_goal(f"at most {MAX_MEBIBYTES} MiB added", met=added <= MAX_MEBIBYTES, shown=f"{added:.1f} MiB")
    print_goal(
        f"at least {MIN_SPEED} times as fast as {OPENAI}", met=ratio >= MIN_SPEED, shown=f"{ratio:.1f}"
    )


if __name__ == "__main__":
    main()

"""What is kept of what commands put out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airflow_containers.local.responses.items import citation, content, logs, texts
from airflow_containers.local.sandbox.commands import Outcome


@given(st.binary(max_size=60), st.binary(max_size=60), st.integers(0, 80))
def test_output_is_cut_to_its_limit(stdout: bytes, stderr: bytes, limit: int) -> None:
    """Both streams together have no more characters than that, and as many as there are."""
    whole_out, whole_err = stdout.decode(errors="replace"), stderr.decode(errors="replace")

    out, err = texts(Outcome(stdout, stderr, 0, "exit"), limit)

    assert min(limit, len(whole_out) + len(whole_err)) == len(out) + len(err)
    assert whole_out.startswith(out)
    assert whole_err.startswith(err)
    assert len(out) >= min(len(whole_out), limit // 2)
    assert len(err) >= min(len(whole_err), limit // 2)


def test_a_character_that_was_cut_is_left_out() -> None:
    """Where the sandbox has cut a stream inside of a character, there is no sign of it."""
    raw = "aé".encode()[:-1]

    assert ("a", "") == texts(Outcome(raw, b"", 0, "exit", stdout_truncated=True), 10)
    assert ("a\ufffd", "") == texts(Outcome(raw, b"", 0, "exit"), 10)


def test_how_commands_end() -> None:
    """By themselves, at their time-out, or killed, which the error stream says with the reason."""
    ended = [
        content(Outcome(b"", b"", 3, "exit"), 99),
        content(Outcome(b"x", b"", None, "timeout"), 99),
        content(Outcome(b"", b"no", None, "killed", reason="memory"), 99),
    ]

    assert [
        {"stdout": "", "stderr": "", "outcome": {"type": "exit", "exit_code": 3}},
        {"stdout": "x", "stderr": "", "outcome": {"type": "timeout"}},
        {"stdout": "", "stderr": "no\nKilled: memory\n", "outcome": {"type": "exit", "exit_code": 137}},
    ] == ended


def test_logs_have_both_streams() -> None:
    """Code has one text; nothing put out is no output; a time-out is said."""
    assert [{"type": "logs", "logs": "a\nb"}] == logs(Outcome(b"a", b"b", 0, "exit"), 99)
    assert [] == logs(Outcome(b"", b"", 0, "exit"), 99)
    assert [{"type": "logs", "logs": "a\nThe time limit was reached.\n"}] == logs(
        Outcome(b"a", b"", None, "timeout"), 99
    )


def test_a_citation_is_where_the_path_is() -> None:
    """The span of the path in the text, or nothing at the start."""
    found = citation("cntr_1", "cfile_1", "/mnt/data/a/b.txt", "see /mnt/data/a/b.txt!")
    missing = citation("cntr_1", "cfile_1", "/mnt/data/a/b.txt", "see there")

    assert ("b.txt", 4, 21) == (found["filename"], found["start_index"], found["end_index"])
    assert (0, 0) == (missing["start_index"], missing["end_index"])

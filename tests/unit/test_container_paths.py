"""Paths in a container: what an author means by one, and what a worker makes of a name from there."""

from __future__ import annotations

import posixpath
import time
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_containers.container_paths import (
    MAX_NAME_BYTES,
    absolute,
    find,
    glob_files,
    is_pattern,
    local_name,
    plain_name,
    plain_path,
    select,
    shown,
)

HEX = "88e12fa445d32636f190a0b33daed6cb"
OTHER_HEX = "0" * 32


@dataclass
class Listed:
    """A file in a list."""

    path: str | None
    created_at: int | None = 0


names = st.text(min_size=1, max_size=20).filter(lambda name: "/" not in name)
paths = st.one_of(
    st.text(max_size=300),
    st.text(alphabet="ab./\\ \0\n:*?-", max_size=30),
    st.builds("{}/{}".format, st.sampled_from(["..", "", "/etc", f"/mnt/data/{HEX}-"]), st.text(max_size=20)),
    st.builds(lambda name, count: name * count, names, st.integers(1, 200)),
    st.builds("{}{}".format, st.sampled_from(["CON", "nul", "Com1", "LPT\u00b9", "aux"]), names),
)


class TestPlainName:
    """The name that the author knows."""

    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            (f"/mnt/data/{HEX}-tsconfig.json", "tsconfig.json"),
            ("/mnt/data/report.csv", "report.csv"),
            ("report.csv", "report.csv"),
            (f"{HEX}-report.csv", "report.csv"),
            (f"/mnt/data/{HEX}-", f"{HEX}-"),
            (f"/mnt/data/{HEX}", HEX),
            (f"/mnt/data/{HEX.upper()}-report.csv", f"{HEX.upper()}-report.csv"),
            (f"/mnt/data/{HEX}-{OTHER_HEX}-twice", f"{OTHER_HEX}-twice"),
            (f"/mnt/data/{HEX}-\n", "\n"),
            ("/mnt/data/out/", "out"),
            ("/", ""),
            ("", ""),
        ],
    )
    def test_examples(self, path: str, expected: str) -> None:
        """Only 32 lower-case hexadecimal digits with a hyphen are taken off, once, and never everything."""
        assert expected == plain_name(path)

    @given(names)
    def test_of_what_the_service_makes(self, name: str) -> None:
        """A name that went in comes out, whatever it is."""
        assert name == plain_name(f"/mnt/data/{HEX}-{name}")
        assert f"/mnt/data/out/{name}" == plain_path(f"/mnt/data/out/{HEX}-{name}")


class TestFind:
    """Which file is meant by a path."""

    def test_plain_name(self) -> None:
        """The prefix is the service's business; a relative path is below the root."""
        report, other = Listed(f"/mnt/data/{HEX}-report.csv"), Listed("/mnt/data/other.csv")
        for wanted in ("report.csv", "./report.csv", "/mnt/data/report.csv", f"{HEX}-report.csv"):
            assert report is find([other, report], wanted)
        assert find([other, report], "out/report.csv") is None
        assert find([other, report], "rep*") is None

    def test_exact_path_first(self) -> None:
        """A newer file with that plain name does not hide the one at that path."""
        exact, newer = Listed("/mnt/data/a.csv", 1), Listed(f"/mnt/data/{HEX}-a.csv", 2)
        assert exact is find([newer, exact], "a.csv")

    def test_newest(self) -> None:
        """Of several the newest; of those of one second the first in the list."""
        old, first, second = (
            Listed(f"/mnt/data/{digit * 32}-a.csv", created_at)
            for digit, created_at in (("0", 1), ("1", 2), ("2", 2))
        )
        assert first is find([first, second, old], "a.csv")
        assert first is find([old, first, second], "a.csv")
        nowhere = Listed(f"/mnt/data/{HEX}-a.csv", None)
        assert old is find([nowhere, old], "a.csv")

    def test_folder_counts(self) -> None:
        """The same name in another folder is another file."""
        deep = Listed(f"/mnt/data/out/{HEX}-a.csv")
        assert find([deep], "a.csv") is None
        assert deep is find([deep], "out/a.csv")

    def test_odd_entries(self) -> None:
        """An entry without a path, or with two in one, is passed by."""
        two = Listed("/mnt/data/a.csv, /mnt/data/b.csv")
        assert find([Listed(None), two], "b.csv") is None
        assert two is find([two], two.path or "")

    @given(names.filter(lambda name: name not in {".", ".."}), st.booleans())
    def test_every_name_is_found(self, name: str, prefixed: bool) -> None:
        """Whatever its name, a file is found by it."""
        file = Listed(f"/mnt/data/{HEX}-{name}" if prefixed else f"/mnt/data/{name}")
        assert file is find([file], f"/mnt/data/{name}")


class TestGlob:
    """Which files are meant by a pattern."""

    FILES = tuple(
        f"/mnt/data/{path}"
        for path in (
            f"{HEX}-a.csv",
            "b.csv",
            f"out/{HEX}-c.csv",
            "out/deep/d.CSV",
            "out/deep/e.csv",
            ".hidden",
            "[x].csv",
        )
    )

    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            ("*.csv", (0, 1, 6)),
            ("/mnt/data/*.csv", (0, 1, 6)),
            ("?.csv", (0, 1)),
            ("[ab].csv", (0, 1)),
            ("[!a].csv", (1,)),
            ("[[]x].csv", (6,)),
            (f"{HEX[:8]}*", (0,)),
            (f"{HEX[:4]}*", ()),
            (f"{'?' * 32}-*", (0,)),
            ("*-a.csv", (0,)),
            ("out/*", (2,)),
            ("*/c.csv", (2,)),
            ("**/*.csv", (0, 1, 2, 4, 6)),
            ("**", (0, 1, 2, 3, 4, 5, 6)),
            ("out/**", (2, 3, 4)),
            ("out/**/e.csv", (4,)),
            ("/**/deep/*", (3, 4)),
            ("**/deep/**/e.csv", (4,)),
            ("*", (0, 1, 5, 6)),
            ("a.csv", (0,)),
            ("/etc/*", ()),
            ("../*", ()),
            ("[", ()),
        ],
    )
    def test_examples(self, pattern: str, expected: tuple[int, ...]) -> None:
        """Stars stay inside of one part of the path, two of them do not."""
        files = [Listed(path) for path in self.FILES]
        assert [files[index] for index in expected] == glob_files([*files, Listed(None)], pattern)

    @given(
        st.text(alphabet="0123456789abcdef", min_size=32, max_size=32), st.sampled_from("0123456789abcdef")
    )
    def test_digits_decide_nothing(self, digits: str, first: str) -> None:
        """Whether a pattern finds a file does not depend on the digits that the service has put in front."""
        file = Listed(f"/mnt/data/{digits}-z.csv")
        assert [] == glob_files([file], f"{first}*.csv") == glob_files([file], f"*{first}*.csv")
        assert (
            [file] == glob_files([file], "z*") == glob_files([file], "*.csv") == glob_files([file], "*-z.*")
        )

    @given(paths, st.text(alphabet="ab*?[]!-/.", max_size=20))
    def test_never_fails(self, path: str, pattern: str) -> None:
        """Any pattern can be held against any path, and what a plain path finds its pattern finds."""
        files = [Listed(path), Listed(f"/mnt/data/{HEX}-a"), Listed("/mnt/data/b/a")]
        found = glob_files(files, pattern)
        assert all(file in files for file in found)
        if not is_pattern(pattern):
            one = find(files, pattern)
            assert (one is None) == (not found)

    def test_cost(self) -> None:
        """A name made to be slow is not: neither one of many letters nor one of many parts."""
        hostile = [Listed("/mnt/data/" + "a" * 20_000), Listed("/mnt/data" + "/a" * 20_000)]
        started = time.monotonic()
        assert [] == glob_files(hostile, "*a*a*a*a*a*a*a*a*b")
        assert [] == glob_files(hostile, "**/a/**/a/**/a/**/a/**/b")
        assert time.monotonic() - started < 5


class TestSelect:
    """What an author gets for a path or a pattern."""

    def test_path(self) -> None:
        """A path means one file, the newest."""
        new, old = Listed(f"/mnt/data/{HEX}-a.csv", 2), Listed(f"/mnt/data/{OTHER_HEX}-a.csv", 1)
        assert [new] == select([new, old], "a.csv")
        assert [] == select([new, old], "b.csv")

    def test_pattern(self) -> None:
        """A pattern means all that match; what is listed twice with one path is there once."""
        new, old = Listed("/mnt/data/a.csv", 2), Listed("/mnt/data/a.csv", 1)
        other = Listed(f"/mnt/data/{HEX}-a.csv", 1)
        assert [new, other] == select([old, other, new], "*.csv")
        assert [] == select([old, new], "*.txt")

    def test_name_like_a_pattern(self) -> None:
        """A file is found by its name, although that would match others."""
        odd, plain = Listed("/mnt/data/[ab].csv"), Listed("/mnt/data/a.csv")
        assert [odd] == select([plain, odd], "[ab].csv")
        assert [plain] == select([plain], "[ab].csv")


class TestLocalName:
    """What a worker calls a file."""

    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            (f"/mnt/data/{HEX}-report.csv", "report.csv"),
            ("/mnt/data/Übersicht 1.csv", "Übersicht 1.csv"),
            ("/mnt/data/.hidden", ".hidden"),
            ("../../etc/passwd", "passwd"),
            ("/etc/passwd", "passwd"),
            ("/mnt/data/..", "unnamed"),
            ("/mnt/data/.", "unnamed"),
            ("..", "unnamed"),
            ("/", "unnamed"),
            ("", "unnamed"),
            ("\0", "unnamed"),
            (" \n", "unnamed"),
            ("..\\..\\etc\\passwd", ".._.._etc_passwd"),
            ("C:\\boot.ini", "C__boot.ini"),
            ("a\0b\nc\x7f\u202ed\u2028e", "a_b_c__d_e"),
            ("\ud800.csv", "_.csv"),
            ("report.csv. . ", "report.csv"),
            ("file.txt:stream", "file.txt_stream"),
            ("CON", "_CON"),
            ("nul.txt", "_nul.txt"),
            ("com1 .tar.gz", "_com1 .tar.gz"),
            ("LPT\u00b2", "_LPT\u00b2"),
            ("console.log", "console.log"),
            (f"{HEX}-..", "unnamed"),
            ("x" * 300 + ".csv", "x" * 251 + ".csv"),
            ("ü" * 300, "ü" * 127),
            ("x." + "y" * 300, "x." + "y" * 253),
        ],
    )
    def test_examples(self, path: str, expected: str) -> None:
        """A usual name stays, of an unusual one is kept what can be."""
        assert expected == local_name(path, set())

    def test_duplicates(self) -> None:
        """What some file system takes for the same name gets a number, before the extension."""
        taken: set[str] = set()
        given = ["a.csv", f"{HEX}-a.csv", "A.CSV", "a-2.csv", "\u00e9", "e\u0301", "\ufb01n", "FIN", "", ".."]
        expected = ["a.csv", "a-2.csv", "A-3.CSV", "a-2-2.csv", "\u00e9", "e\u0301-2", "\ufb01n", "FIN-2"]
        assert [*expected, "unnamed", "unnamed-2"] == [local_name(name, taken) for name in given]

    @given(st.lists(paths, max_size=20))
    @example(["x" * 300, "X" * 300, "x" * 255, "x" * 253 + "-2"])
    @example(["x" * 251 + " .csv", "x" * 249 + ". .csv"] * 3)
    def test_every_name_is_safe(self, given_paths: list[str]) -> None:
        """One printable part of a path, of a bounded length, and no two that could be one file."""
        taken: set[str] = set()
        made = [local_name(path, taken) for path in given_paths]
        for name in made:
            assert 0 < len(name.encode()) <= MAX_NAME_BYTES
            assert "/" not in name
            assert "\\" not in name
            assert posixpath.normpath(name) == name
            assert name not in {".", ".."}
            assert not any(unicodedata.category(character).startswith("C") for character in name)
            assert name == name.rstrip(". ")
        assert len(made) == len({unicodedata.normalize("NFKD", name).casefold() for name in made})

    @given(paths)
    @example("0" * 250 + "\xa0" * 10 + "0")
    def test_a_safe_name_stays(self, path: str) -> None:
        """What was made of a name once is not changed by the way back."""
        name = local_name(path, set())
        if plain_name(name) == name:
            assert name == local_name(name, set())

    def test_on_disk(self, tmp_path: Path) -> None:
        """Files with all these names lie side by side in the folder, and nowhere else."""
        taken: set[str] = set()
        hostile = ["../../etc/passwd", "/etc/passwd", "a\0b", "a\nb", "x" * 5000, "é" * 5000, "..", "", "~/x"]
        made = [local_name(path, taken) for path in hostile * 3]
        for name in made:
            (tmp_path / name).write_text("x")
        assert sorted(made) == sorted(path.name for path in tmp_path.iterdir())
        assert 27 == len(list(tmp_path.rglob("*")))


@given(paths)
def test_shown(path: str) -> None:
    """A name from a container adds no line to a log, and does not fill it."""
    assert shown(path).isprintable()
    assert len(shown(path)) <= 301
    assert shown(path) == path or not path.isprintable() or len(path) > 300


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.csv", "/mnt/data/a.csv"),
        ("./out//a.csv", "/mnt/data/out/a.csv"),
        ("/mnt/data/a.csv", "/mnt/data/a.csv"),
        ("//etc/passwd", "/etc/passwd"),
        ("../x", "/mnt/x"),
        ("", "/mnt/data"),
    ],
)
def test_absolute(path: str, expected: str) -> None:
    """A relative path begins at the root of a container's files."""
    assert expected == absolute(path)

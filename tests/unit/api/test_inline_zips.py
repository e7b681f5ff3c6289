"""Inline skills whose zip is in a file: what is sent, and what is seen of them elsewhere."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_containers.api import (
    BytesSource,
    CreateContainerRequest,
    InlineSkill,
    InlineSkillSource,
    InvalidRequestError,
    PathSource,
    SkillReference,
    SkillZip,
    SourceChangedError,
    validate,
)
from airflow_containers.creation import fingerprint

SECRET = {"domain": "api.example.com", "name": "TOKEN", "value": "canary-1"}


def skill(data: bytes | SkillZip | str, name: str = "s") -> InlineSkill:
    """An inline skill of this zip."""
    if isinstance(data, bytes):
        data = SkillZip(BytesSource("s.zip", data), "digest")
    return InlineSkill(name=name, description="d", source=InlineSkillSource(data=data))


def in_memory(data: bytes, name: str = "s") -> InlineSkill:
    """The same skill as Base64 text."""
    return skill(base64.b64encode(data).decode(), name)


@given(st.lists(st.binary(min_size=1, max_size=200), max_size=4), st.text(min_size=1, max_size=20))
def test_what_is_sent_is_the_same(zips: list[bytes], description: str) -> None:
    """A zip in a file and its Base64 text make the same body, byte for byte, with its exact length."""
    policy = {"type": "allowlist", "allowed_domains": ["api.example.com"], "domain_secrets": [SECRET]}
    fields = {"name": "n", "network_policy": policy}
    try:
        description.encode()
    except UnicodeEncodeError:
        description = "d"
    others = [InlineSkill(name="x", description=description, source=InlineSkillSource(data="AAAA"))]
    one = validate(CreateContainerRequest, fields | {"skills": [*others, *map(skill, zips)]})
    two = validate(CreateContainerRequest, fields | {"skills": [*others, *map(in_memory, zips)]})

    body = one.to_body()
    assert two.to_wire() == b"".join(body.chunks()) == b"".join(body.chunks()) == one.to_wire()
    assert len(two.to_wire()) == body.length
    assert b"canary-1" in two.to_wire()


@pytest.mark.parametrize("size", [1, 2, 3, 49151, 49152, 49153, 262143, 262144, 262145, 1_000_001])
def test_sizes_about_those_of_pieces(size: int) -> None:
    """No size of a piece leaves a mark in the text."""
    data = bytes(range(256)) * (size // 256 + 1)
    request = CreateContainerRequest(name="n", skills=[skill(data[:size])])

    sent = json.loads(request.to_wire())["skills"][0]["source"]
    assert data[:size] == base64.b64decode(sent["data"], validate=True)
    assert max(map(len, request.to_body().chunks())) <= 1024 * 1024


def test_nothing_else_reads_the_file(tmp_path: Path) -> None:
    """A repr, a dump and a fingerprint see the digest, also when the file is gone."""
    path = tmp_path / "s.zip"
    path.write_bytes(b"PK12")
    request = CreateContainerRequest(name="n", skills=[skill(SkillZip(PathSource(path), "0123"))])
    path.unlink()

    assert "zip:4:0123" == json.loads(request.model_dump_json())["skills"][0]["source"]["data"]
    assert "PK12" not in repr(request)
    assert fingerprint(request)


def test_fingerprint_goes_by_the_content(tmp_path: Path) -> None:
    """The same content is the same request wherever its zip is; other content is another."""
    requests = []
    for name, digest in (("a", "1"), ("b", "1"), ("c", "2")):
        (tmp_path / name).write_bytes(b"PK12")
        zipped = SkillZip(PathSource(tmp_path / name), digest)
        requests.append(CreateContainerRequest(name="n", skills=[skill(zipped)]))

    one, two, three = map(fingerprint, requests)
    assert one == two != three


@pytest.mark.parametrize("content", [b"", b"PK1", b"PK123"])
def test_file_that_changed(content: bytes, tmp_path: Path) -> None:
    """A zip of another size than it had is not sent to its end."""
    path = tmp_path / "s.zip"
    path.write_bytes(b"PK12")
    request = CreateContainerRequest(name="n", skills=[skill(SkillZip(PathSource(path), "0"))])
    path.write_bytes(content)

    with pytest.raises(SourceChangedError, match=r"s\.zip: it had 4 bytes"):
        list(request.to_body().chunks())


@pytest.mark.parametrize(
    "data", [{"source": {"path": "/etc/passwd"}, "digest": "0"}, "zip:4:0", {"path": "/etc/passwd"}]
)
def test_no_json_names_a_file(data: object) -> None:
    """Only an instance is a file: JSON that looks like one is refused."""
    source = {"type": "base64", "media_type": "application/zip", "data": data}
    fields = {"name": "n", "skills": [{"type": "inline", "name": "s", "description": "d", "source": source}]}

    with pytest.raises(InvalidRequestError, match=r"skills\[0\]\.source\.data: "):
        validate(CreateContainerRequest, fields)


class _Sized:
    name = "s.zip"

    def __init__(self, size: int) -> None:
        self.size = size

    def open(self) -> None:
        """Not used."""


def test_size_of_a_zip() -> None:
    """A zip whose text would have more characters than the API takes is refused, to the byte."""
    assert skill(SkillZip(_Sized(52_690_944), "0"))  # type: ignore[arg-type]
    for size in (0, 52_690_945):
        with pytest.raises(ValueError, match=f"the zip has {size} bytes, expected 1 to 52690944"):
            skill(SkillZip(_Sized(size), "0"))  # type: ignore[arg-type]


def test_request_without_zips() -> None:
    """Other requests are sent as before."""
    request = CreateContainerRequest(name="n", skills=[SkillReference(skill_id="skill_1")])

    assert b'{"name":"n","skills":[{"type":"skill_reference","skill_id":"skill_1"}]}' == request.to_wire()
    assert "application/json" == request.to_body().content_type

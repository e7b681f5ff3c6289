"""The calls of the Skills API, and the models of their answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_containers.api import (
    BytesSource,
    InvalidRequestError,
    SkillPage,
    SkillResource,
    SkillVersion,
    SkillVersionPage,
    endpoints,
)

ZIP = BytesSource("report.zip", b"PK")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (endpoints.create_skill(ZIP), "POST /skills"),
        (endpoints.list_skills(), "GET /skills"),
        (endpoints.retrieve_skill("skill_1"), "GET /skills/skill_1"),
        (endpoints.set_default_skill_version("skill_1", 2), "POST /skills/skill_1"),
        (endpoints.delete_skill("skill_1"), "DELETE /skills/skill_1"),
        (endpoints.skill_content("skill_1"), "GET /skills/skill_1/content"),
        (endpoints.create_skill_version("skill_1", ZIP), "POST /skills/skill_1/versions"),
        (endpoints.list_skill_versions("skill_1"), "GET /skills/skill_1/versions"),
        (endpoints.retrieve_skill_version("skill_1", "2"), "GET /skills/skill_1/versions/2"),
        (endpoints.delete_skill_version("skill_1", 2), "DELETE /skills/skill_1/versions/2"),
        (endpoints.skill_version_content("skill_1", 2), "GET /skills/skill_1/versions/2/content"),
    ],
)
def test_paths(call: endpoints.Call[Any], line: str) -> None:
    """Each operation has the method and path of the published document; only uploads are not repeatable."""
    assert line == str(call)
    assert call.repeatable == (line not in ("POST /skills", "POST /skills/skill_1/versions"))


def test_default_version_is_a_text() -> None:
    """A number is sent as text, as the document says."""
    body = endpoints.set_default_skill_version("skill_1", 2).sent_body()

    assert body is not None
    assert {"default_version": "2"} == json.loads(b"".join(body.chunks()))


@pytest.mark.parametrize(
    "version", ["latest", "0", "-1", "01", "1.5", "", 0, -1, True, None, 1.5, "²", 10**20]
)
def test_wrong_versions(version: Any) -> None:
    """A version in a path is a positive integer, and so is a default version."""
    for make in (
        endpoints.retrieve_skill_version,
        endpoints.delete_skill_version,
        endpoints.skill_version_content,
    ):
        with pytest.raises(InvalidRequestError, match=r"version: got .* expected a positive integer"):
            make("skill_1", version)


@pytest.mark.parametrize("version", ["latest", "0", "-1", "", 0, True, None, 1.5])
def test_wrong_default_versions(version: Any) -> None:
    """A default version is a positive integer."""
    with pytest.raises(InvalidRequestError, match=r"^default_version: "):
        endpoints.set_default_skill_version("skill_1", version)


@pytest.mark.parametrize("skill_id", ["", "a/b", "..", "a b", "a?b", None, 5])
def test_wrong_ids(skill_id: Any) -> None:
    """An id that cannot stand in a URL is refused by its name."""
    with pytest.raises(InvalidRequestError, match=r"^skill_id: "):
        endpoints.retrieve_skill(skill_id)


def test_forms() -> None:
    """A zip is one part `files`, a folder many `files[]`; the error that asks to look names what is made."""
    one = endpoints.create_skill_version("skill_1", ZIP, default=True)
    many = endpoints.create_skill([BytesSource("report/SKILL.md", b"---"), BytesSource("report/a", b"")])

    assert ("report.zip", "report") == (one.subject, many.subject)
    sent = [b"".join(body.chunks()) for body in (one.sent_body(), many.sent_body()) if body is not None]
    assert [1, 0] == [body.count(b'name="default"\r\n\r\ntrue') for body in sent]
    assert b'name="files"; filename="report.zip"\r\nContent-Type: application/zip' in sent[0]
    assert 2 == sent[1].count(b'name="files[]"; filename="report/')


@pytest.mark.parametrize("count", [0, 501])
def test_number_of_files(count: int) -> None:
    """A folder has 1 to 500 files."""
    with pytest.raises(InvalidRequestError, match=f"files: got {count} files, expected 1 to 500"):
        endpoints.create_skill([ZIP] * count)


@given(st.dictionaries(st.sampled_from([*SkillResource.model_fields, *SkillVersion.model_fields]), JSON))
def test_any_answer(fields: dict[str, Any]) -> None:
    """Whatever the fields hold, an answer with an id is read."""
    fields["id"] = "skill_1"

    assert "skill_1" == SkillResource.model_validate(fields).id
    assert "skill_1" == SkillVersion.model_validate(fields).id


def test_versions_as_numbers() -> None:
    """A version that comes as a number is the same as text."""
    skill = SkillResource.model_validate({"id": "skill_1", "default_version": 1, "latest_version": "2"})

    assert ("1", "2") == (skill.default_version, skill.latest_version)


@pytest.mark.parametrize("page", [SkillPage, SkillVersionPage])
def test_entries_without_id_are_left_out(page: Any) -> None:
    """Nothing can be done with an entry without an id."""
    data = [{"id": "1"}, {"name": "a"}, None, {"id": None}, {"id": "2"}]

    assert ["1", "2"] == page.model_validate({"data": data}).entry_ids

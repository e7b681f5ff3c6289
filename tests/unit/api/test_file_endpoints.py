"""The operations for files: what is refused before anything is sent, and what may be sent twice."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_containers.api import BytesSource, InvalidRequestError, endpoints
from airflow_containers.api.models import (
    MAX_FILE_BYTES,
    MAX_PART_BYTES,
    MAX_UPLOAD_BYTES,
    ContainerFile,
    ContainerFilePage,
    File,
    Upload,
)

SOURCE = BytesSource("a.csv", b"1")
IN_CONTAINER: list[Any] = [
    lambda value: endpoints.create_container_file(value, SOURCE),
    lambda value: endpoints.copy_file_into_container(value, "file-1"),
    endpoints.list_container_files,
    lambda value: endpoints.retrieve_container_file(value, "cfile_1"),
    lambda value: endpoints.retrieve_container_file("cntr_1", value),
    lambda value: endpoints.delete_container_file("cntr_1", value),
    lambda value: endpoints.container_file_content("cntr_1", value),
    lambda value: endpoints.list_container_files("cntr_1", after=value),
    endpoints.retrieve_file,
    endpoints.delete_file,
    endpoints.file_content,
    lambda value: endpoints.add_upload_part(value, SOURCE),
    lambda value: endpoints.complete_upload(value, ["part_1"]),
    endpoints.cancel_upload,
]


def sized(size: int) -> BytesSource:
    """A source that says to have some size."""
    source = BytesSource("a.csv", b"")
    source.size = size
    return source


@pytest.mark.parametrize("value", ["", ".", "..", "a/b", "a?b", "a b", "é", "None", "a" * 513])
@pytest.mark.parametrize("operation", IN_CONTAINER)
def test_what_is_no_id(operation: Any, value: str) -> None:
    """It would lead to another place, so it is refused."""
    with pytest.raises(InvalidRequestError, match=r"expected the id of|characters that no id has"):
        operation(value)


@pytest.mark.parametrize("value", ["", " ", "a\nb", "a" * 513, None, 5])
def test_what_cannot_be_copied(value: Any) -> None:
    """The id goes into the body, where it is checked as well."""
    with pytest.raises(InvalidRequestError, match="file_id: "):
        endpoints.copy_file_into_container("cntr_1", value)


def test_sizes() -> None:
    """The limits of one request, of one part, and of all parts."""
    endpoints.create_file(sized(MAX_FILE_BYTES))
    endpoints.add_upload_part("upload_1", sized(MAX_PART_BYTES))
    endpoints.create_upload("a", MAX_UPLOAD_BYTES)
    with pytest.raises(InvalidRequestError, match="send it in parts"):
        endpoints.create_file(sized(MAX_FILE_BYTES + 1))
    with pytest.raises(InvalidRequestError, match="expected at most 67108864"):
        endpoints.add_upload_part("upload_1", sized(MAX_PART_BYTES + 1))
    with pytest.raises(InvalidRequestError, match="bytes: got the number 8589934593"):
        endpoints.create_upload("a", MAX_UPLOAD_BYTES + 1)


@pytest.mark.parametrize("seconds", [0, 3_599, 2_592_001, True, 3_600.0, "3600"])
def test_expiry(seconds: Any) -> None:
    """An hour to thirty days, as an integer."""
    with pytest.raises(InvalidRequestError, match=r"3600 .* to 2592000"):
        endpoints.create_file(SOURCE, expires_after=seconds)


@pytest.mark.parametrize("limit", [0, 101, True, 1.0])
def test_pages_of_a_container(limit: Any) -> None:
    """Up to a hundred, and ten thousand of the Files API."""
    with pytest.raises(InvalidRequestError, match="from 1 to 100"):
        endpoints.list_container_files("cntr_1", limit=limit)
    assert {"limit": "10000"} == endpoints.list_files(limit=10_000).query


@pytest.mark.parametrize("md5", ["", "0" * 31, "0" * 33, "G" * 32, "A" * 32])
def test_checksums(md5: str) -> None:
    """Something else would be refused after gigabytes were sent."""
    with pytest.raises(InvalidRequestError, match="md5: it is no MD5 checksum"):
        endpoints.complete_upload("upload_1", ["part_1"], md5=md5)


def test_what_may_be_sent_twice() -> None:
    """Everything but what makes a file."""
    once = [
        endpoints.create_container_file("cntr_1", SOURCE),
        endpoints.copy_file_into_container("cntr_1", "file-1"),
        endpoints.create_file(SOURCE),
        endpoints.complete_upload("upload_1", []),
    ]
    assert not any(call.repeatable for call in once)
    often: list[endpoints.Call[Any]] = [
        endpoints.list_container_files("cntr_1"),
        endpoints.delete_container_file("cntr_1", "cfile_1"),
        endpoints.container_file_content("cntr_1", "cfile_1"),
        endpoints.create_upload("a", 1),
        endpoints.add_upload_part("upload_1", SOURCE),
        endpoints.cancel_upload("upload_1"),
    ]
    assert all(call.repeatable for call in often)


def test_ids_stand_alone_in_a_path() -> None:
    """As one part each."""
    call = endpoints.container_file_content("cntr_1", "cfile:1")
    assert "/containers/cntr_1/files/cfile%3A1/content" == call.path


@pytest.mark.parametrize("odd", [None, [], {}, "x", 1.5, True])
def test_odd_answers_are_read(odd: Any) -> None:
    """Null sizes, several paths in one, wrong types: an id is enough."""
    fields = dict.fromkeys(("bytes", "path", "created_at", "source", "container_id", "filename"), odd)
    for model in (ContainerFile, File, Upload):
        assert "x1" == model.model_validate({"id": "x1", **fields}).id
    file = ContainerFile.model_validate({"id": "c", "path": "/mnt/data/a/mnt/data/b", "bytes": None})
    assert ("/mnt/data/a/mnt/data/b", None) == (file.path, file.bytes)
    page = ContainerFilePage.model_validate({"data": [{"id": "a"}, {"id": None}, odd], "has_more": odd})
    assert ["a"] == page.entry_ids

"""One function for each operation of the API: what it sends, and which arguments it refuses."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_containers.api import CreateContainerRequest, InvalidRequestError
from airflow_containers.api.endpoints import (
    MAX_ID_LENGTH,
    create_container,
    delete_container,
    list_containers,
    retrieve_container,
)

ESCAPING_IDS = [
    "",
    " ",
    ".",
    "..",
    "../files",
    "cntr_1/..",
    "cntr_1/files",
    "/cntr_1",
    "cntr_1/",
    "\\..\\x",
    "cntr_1?limit=1",
    "cntr_1#x",
    "%2e%2e",
    "cntr%2F1",
    "cntr_1\n",
    "cntr 1",
    "cntr_1\t",
    "cntr_1\0",
    "cntr_1\r\nHost: x",
    "cntr_\u202e1",
    "cntr_\ud800",
    "\uff43ntr_1",
    "None",
    "x" * (MAX_ID_LENGTH + 1),
]


@pytest.mark.parametrize("operation", [retrieve_container, delete_container])
@pytest.mark.parametrize("container_id", ESCAPING_IDS, ids=lambda text: ascii(text)[:30])
def test_an_id_that_is_none_or_would_leave_its_place_in_the_path_is_refused(
    operation: Any, container_id: str
) -> None:
    """An id cannot turn a call about one container into a call about something else."""
    with pytest.raises(InvalidRequestError, match=r"^container_id: "):
        operation(container_id)


@pytest.mark.parametrize("value", [None, 5, b"cntr_1", ["cntr_1"], {"id": "cntr_1"}], ids=repr)
def test_an_id_is_a_text(value: Any) -> None:
    """A value of another type is refused with what was expected; it is not quoted."""
    with pytest.raises(InvalidRequestError) as caught:
        delete_container(value)
    expected = f"container_id: got {type(value).__name__}, expected the id of a container, such as 'cntr_…'"
    assert expected == str(caught.value)


@given(st.text(max_size=80))
def test_whatever_id_is_accepted_is_one_segment_of_the_path(container_id: str) -> None:
    """The path of an accepted id has two segments, and the second is the id."""
    try:
        path = retrieve_container(container_id).path
    except InvalidRequestError:
        return
    start, containers, segment = path.split("/")
    assert ("", "containers", container_id) == (start, containers, unquote(segment))
    assert segment.isascii()
    assert segment == quote(segment, safe="%")
    assert segment not in {".", ".."}


def test_ids_of_other_services_are_kept() -> None:
    """A gateway's id may be longer and have other characters; they are percent-encoded where they must be."""
    assert "/containers/cntr_abc-DEF.1~x" == retrieve_container("cntr_abc-DEF.1~x").path
    assert "/containers/eu%3Acntr_1%40a%3D" == retrieve_container("eu:cntr_1@a=").path


class TestOperations:
    """Method, path, query, and what is known of repeating each operation."""

    def test_create(self) -> None:
        """A create is a POST that must not be repeated."""
        request = CreateContainerRequest(name="n")
        call = create_container(request)
        assert ("POST", "/containers", {}, request) == (call.method, call.path, call.query, call.body)
        assert (False, False, False) == (call.repeatable, call.about_container, call.body_optional)

    @pytest.mark.parametrize("value", [None, {}, {"name": "n"}, "n"], ids=repr)
    def test_create_takes_a_checked_request_only(self, value: Any) -> None:
        """Nothing that was not validated can be sent."""
        with pytest.raises(
            InvalidRequestError, match=r"^request: got \w+, expected a CreateContainerRequest$"
        ):
            create_container(value)

    def test_retrieve(self) -> None:
        """A GET of one container; a 404 means that it is gone."""
        call = retrieve_container("cntr_1")
        assert ("GET", "/containers/cntr_1", {}, None) == (call.method, call.path, call.query, call.body)
        assert (True, True, False) == (call.repeatable, call.about_container, call.body_optional)

    def test_delete(self) -> None:
        """A DELETE may be repeated, and its answer may have no body."""
        call = delete_container("cntr_1")
        assert ("DELETE", "/containers/cntr_1", {}, None) == (call.method, call.path, call.query, call.body)
        assert (True, True, True) == (call.repeatable, call.about_container, call.body_optional)

    def test_list(self) -> None:
        """Only what was given is in the query."""
        assert {} == list_containers().query
        call = list_containers(after="cntr_1", limit=100, order="asc", name="a b&c=d/é")
        assert {"after": "cntr_1", "limit": "100", "order": "asc", "name": "a b&c=d/é"} == call.query
        assert ("GET", "/containers", True) == (call.method, call.path, call.repeatable)

    @pytest.mark.parametrize(
        ("argument", "message"),
        [
            ({"limit": 0}, "limit: got 0, expected an integer from 1 to 100"),
            ({"limit": 101}, "limit: got 101, expected an integer from 1 to 100"),
            ({"limit": True}, "limit: got True, expected an integer from 1 to 100"),
            ({"limit": "20"}, "limit: got '20', expected an integer from 1 to 100"),
            ({"limit": 1.0}, "limit: got 1.0, expected an integer from 1 to 100"),
            ({"order": "up"}, "order: got 'up', expected 'asc' or 'desc'"),
            ({"order": True}, "order: got True, expected 'asc' or 'desc'"),
            ({"name": ""}, "name: expected a text of one character or more, or None for all"),
            ({"name": 5}, "name: expected a text of one character or more, or None for all"),
            ({"name": "a\ud800"}, "name: it has half of a surrogate pair, which no URL can carry"),
            ({"after": ""}, "after: got a text of 0 characters that is no id (''), "),
            ({"after": 5}, "after: got int, expected the id of a container, such as 'cntr_…'"),
            ({"after": "../x"}, "after: '../x' has characters that no id has "),
        ],
        ids=ascii,
    )
    def test_wrong_arguments_of_list(self, argument: dict[str, Any], message: str) -> None:
        """Each is refused by name before anything is sent."""
        with pytest.raises(InvalidRequestError) as caught:
            list_containers(**argument)
        assert str(caught.value).startswith(message)

    def test_a_call_does_not_show_its_body(self) -> None:
        """A call may be logged."""
        call = create_container(CreateContainerRequest(name="the-name"))
        assert "POST /containers" == str(call)
        assert "the-name" not in repr(call)

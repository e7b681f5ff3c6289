"""What the clients do around a call: pages, pauses, log lines, closing."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from airflow_containers.api import (
    AmbiguousCreateError,
    AsyncContainersClient,
    ClientOptions,
    Container,
    ContainersClient,
    ContainersError,
    CreateContainerRequest,
    InvalidRequestError,
    InvalidResponseError,
    QuotaExceededError,
    ServerError,
)

Handler = Callable[[httpx.Request], httpx.Response]
OPTIONS = ClientOptions(api_key="sk-1", base_url="https://api.example.com/v1")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_containers.api.retry.FIRST_DELAY", 0.0)


def iterate_sync(handler: Handler, **arguments: Any) -> list[Container]:
    """All containers, by the client for plain code."""
    with ContainersClient(OPTIONS, transport=httpx.MockTransport(handler)) as client:
        return list(client.iterate(**arguments))


def iterate_async(handler: Handler, **arguments: Any) -> list[Container]:
    """All containers, by the client for an event loop."""

    async def main() -> list[Container]:
        async with AsyncContainersClient(OPTIONS, transport=httpx.MockTransport(handler)) as client:
            return [container async for container in client.iterate(**arguments)]

    return asyncio.run(main())


@pytest.fixture(params=[iterate_sync, iterate_async], ids=["sync", "async"])
def iterate(request: pytest.FixtureRequest) -> Callable[..., list[Container]]:
    """All containers, by either client."""
    function: Callable[..., list[Container]] = request.param
    return function


class Pages:
    """A server with containers ``cntr_0`` to ``cntr_<count - 1>``, oldest first."""

    def __init__(self, count: int, *, has_more: Any = "truth") -> None:
        self.ids = [f"cntr_{number}" for number in range(count)]
        self.has_more = has_more
        self.queries: list[dict[str, str]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a list call."""
        query = dict(request.url.params)
        self.queries.append(query)
        start = self.ids.index(query["after"]) + 1 if "after" in query else 0
        end = start + int(query.get("limit", 20))
        more = end < len(self.ids) if self.has_more == "truth" else self.has_more
        data = [{"id": each} for each in self.ids[start:end]]
        return httpx.Response(
            200, json={"object": "list", "data": data, "has_more": more, "last_id": "container_123"}
        )


class TestPages:
    """An iterator that follows pages to the end, and only so far."""

    @pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
    def test_every_container_once_in_order(self, iterate: Any, count: int) -> None:
        """Full pages, half pages and none."""
        server = Pages(count)
        assert server.ids == [container.id for container in iterate(server, limit=2, order="asc", name="a b")]
        expected = {"limit": "2", "order": "asc", "name": "a b"}
        assert expected == server.queries[0]
        assert all(expected.items() <= query.items() for query in server.queries)
        assert max(1, (count + 1) // 2) == len(server.queries)

    def test_a_hundred_at_a_time(self, iterate: Any) -> None:
        """As few requests as the service allows."""
        server = Pages(250)
        assert 250 == len(iterate(server))
        assert ["100"] * 3 == [query["limit"] for query in server.queries]

    @pytest.mark.parametrize("has_more", [None, "true", 1])
    def test_without_the_flag_an_empty_page_ends_it(self, iterate: Any, has_more: Any) -> None:
        """A server that does not say whether there is more is asked until there is not."""
        assert 5 == len(iterate(Pages(5, has_more=has_more), limit=2))

    def test_a_server_that_ignores_after_does_not_hold_us_for_ever(self, iterate: Any) -> None:
        """The same page twice is an error, not an endless loop."""
        answer = httpx.Response(200, json={"data": [{"id": "cntr_1"}, {"id": "cntr_2"}], "has_more": True})
        with pytest.raises(InvalidResponseError, match="two pages end with cntr_2"):
            iterate(lambda request: answer)

    def test_a_server_that_goes_round_does_not_either(self, iterate: Any) -> None:
        """Neither are two pages that follow each other."""

        def handler(request: httpx.Request) -> httpx.Response:
            following = "cntr_b" if request.url.params.get("after") == "cntr_a" else "cntr_a"
            return httpx.Response(200, json={"data": [{"id": following}], "has_more": True})

        with pytest.raises(InvalidResponseError, match="two pages end with cntr_"):
            iterate(handler)

    def test_one_page_is_held_at_a_time(self) -> None:
        """The second page is asked for when the first one is used up."""
        server = Pages(4)
        with ContainersClient(OPTIONS, transport=httpx.MockTransport(server)) as client:
            containers = client.iterate(limit=2)
            assert 0 == len(server.queries)
            assert "cntr_0" == next(containers).id
            assert "cntr_1" == next(containers).id
            assert 1 == len(server.queries)
            assert "cntr_2" == next(containers).id
            assert 2 == len(server.queries)

    def test_wrong_arguments_are_refused_before_a_request(self, iterate: Any) -> None:
        """As for one page."""
        server = Pages(1)
        with pytest.raises(InvalidRequestError, match="limit: got 0"):
            iterate(server, limit=0)
        assert [] == server.queries


def call_sync(handler: Handler, operation: Any, options: ClientOptions = OPTIONS) -> Any:
    """One call with the client for plain code."""
    with ContainersClient(options, transport=httpx.MockTransport(handler)) as client:
        return operation(client)


def call_async(handler: Handler, operation: Any, options: ClientOptions = OPTIONS) -> Any:
    """One call with the client for an event loop."""

    async def main() -> Any:
        async with AsyncContainersClient(options, transport=httpx.MockTransport(handler)) as client:
            return await operation(client)

    return asyncio.run(main())


@pytest.fixture(params=[call_sync, call_async], ids=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """A call with either client."""
    function: Callable[..., Any] = request.param
    return function


class Script:
    """A server that answers with one status after the other."""

    def __init__(self, *statuses: int | type[Exception]) -> None:
        self.statuses = list(statuses)
        self.bodies: list[bytes] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer with the next status, or fail with the next error."""
        self.bodies.append(request.content)
        status = self.statuses[min(len(self.bodies), len(self.statuses)) - 1]
        if not isinstance(status, int):
            raise status("broken")
        return httpx.Response(status, json={"id": "cntr_1", "error": {"message": f"status {status}"}})


class TestRetries:
    """How both clients carry out what the retry rules decide."""

    @pytest.mark.parametrize(
        ("outcomes", "requests"),
        [
            ([200], 1),
            ([503, 200], 2),
            ([503, httpx.ReadTimeout, 200], 3),
            ([429, 429, 200], 3),
            ([httpx.ConnectError, httpx.RemoteProtocolError, 200], 3),
        ],
    )
    def test_a_call_that_succeeds_in_the_end(self, call: Any, outcomes: list[Any], requests: int) -> None:
        """It returns the answer, and no more is sent after it."""
        server = Script(*outcomes)
        assert "cntr_1" == call(server, lambda client: client.retrieve("cntr_1")).id
        assert requests == len(server.bodies)

    def test_the_last_error_is_the_one_raised(self, call: Any) -> None:
        """Three attempts, and the third answer is what is told."""
        server = Script(500, 502, 503)
        with pytest.raises(ServerError, match="HTTP 503: status 503"):
            call(server, lambda client: client.retrieve("cntr_1"))
        assert 3 == len(server.bodies)

    @pytest.mark.parametrize("retries", [0, 1, 4])
    def test_as_often_as_the_options_say(self, call: Any, retries: int) -> None:
        """``max_retries`` counts the attempts after the first."""
        server = Script(500)
        options = ClientOptions(api_key="sk-1", max_retries=retries)
        with pytest.raises(ServerError):
            call(server, lambda client: client.delete("cntr_1"), options)
        assert 1 + retries == len(server.bodies)

    def test_a_repeated_create_is_the_same_request(self, call: Any) -> None:
        """Where a create may be repeated, name and all are what they were."""
        server = Script(httpx.ConnectError, 429, 200)
        request = CreateContainerRequest(name="report")
        assert "cntr_1" == call(server, lambda client: client.create(request)).id
        assert [request.to_wire()] * 3 == server.bodies

    @pytest.mark.parametrize(
        "outcome",
        [500, 503, 408, 409, httpx.ReadTimeout, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError],
    )
    def test_a_create_that_may_have_happened_is_sent_once(self, call: Any, outcome: Any) -> None:
        """It raises the error of its own, with the name to look for."""
        server = Script(outcome, 200)
        with pytest.raises(AmbiguousCreateError) as caught:
            call(server, lambda client: client.create(CreateContainerRequest(name="report")))
        assert 1 == len(server.bodies)
        assert "report" == caught.value.name
        assert caught.value.retryable is True

    def test_after_a_429_a_create_can_still_become_ambiguous(self, call: Any) -> None:
        """The rules look at each attempt."""
        server = Script(429, 500, 200)
        with pytest.raises(AmbiguousCreateError):
            call(server, lambda client: client.create(CreateContainerRequest(name="report")))
        assert 2 == len(server.bodies)

    def test_a_spent_quota_is_not_waited_for(self, call: Any) -> None:
        """One request."""
        requests = []

        def handler(request: httpx.Request) -> httpx.Response:
            requests.append(request)
            return httpx.Response(429, json={"error": {"message": "m", "code": "insufficient_quota"}})

        with pytest.raises(QuotaExceededError):
            call(handler, lambda client: client.list())
        assert 1 == len(requests)

    def test_no_attempt_after_the_time_is_up(self, call: Any) -> None:
        """``max_elapsed=0`` leaves no room for a pause that the server asks for."""
        requests = []

        def handler(request: httpx.Request) -> httpx.Response:
            requests.append(request)
            return httpx.Response(503, headers={"retry-after": "1"})

        options = ClientOptions(api_key="sk-1", max_elapsed=0)
        with pytest.raises(ServerError):
            call(handler, lambda client: client.list(), options)
        assert 1 == len(requests)

    def test_each_further_attempt_is_a_log_line(self, call: Any, caplog: pytest.LogCaptureFixture) -> None:
        """A person who reads the task's log sees why it takes so long."""
        caplog.set_level(logging.WARNING, logger="airflow_containers")
        call(Script(503, 200), lambda client: client.retrieve("cntr_1"))
        expected = ["GET /containers/cntr_1: HTTP 503: status 503; trying again in 0.0 s (attempt 2 of 3)"]
        assert expected == [record.getMessage() for record in caplog.records]

    def test_the_error_has_no_history(self, call: Any) -> None:
        """No chain of library errors behind it: their texts were not looked through for secrets."""
        with pytest.raises(ContainersError) as caught:
            call(Script(httpx.ReadError), lambda client: client.retrieve("cntr_1"))
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ is True


class TestRequests:
    """What goes out."""

    def test_a_create(self, call: Any) -> None:
        """Method, URL, headers and body."""
        seen: list[httpx.Request] = []

        def handler(request: httpx.Request) -> httpx.Response:
            seen.append(request)
            return httpx.Response(200, json={"id": "cntr_1"})

        call(handler, lambda client: client.create(CreateContainerRequest(name="é")))
        request = seen[0]
        assert ("POST", "https://api.example.com/v1/containers") == (request.method, str(request.url))
        assert "application/json" == request.headers["content-type"]
        assert "application/json" == request.headers["accept"]
        assert "Bearer sk-1" == request.headers["authorization"]
        assert request.headers["user-agent"].startswith("airflow-containers/")
        assert {"name": "é"} == json.loads(request.content)

    def test_the_others(self, call: Any) -> None:
        """No body, and queries that arrive as they were meant."""
        seen: list[httpx.Request] = []

        def handler(request: httpx.Request) -> httpx.Response:
            seen.append(request)
            return httpx.Response(200, json={"id": "cntr_1", "data": []})

        call(handler, lambda client: client.retrieve("eu:cntr_1"))
        call(handler, lambda client: client.delete("cntr_1"))
        call(handler, lambda client: client.list(name="a b&c=d+e/é%", limit=5))
        assert ["GET", "DELETE", "GET"] == [request.method for request in seen]
        assert b"/v1/containers/eu%3Acntr_1" == seen[0].url.raw_path
        assert {"name": "a b&c=d+e/é%", "limit": "5"} == dict(seen[2].url.params)
        assert [b""] * 3 == [request.content for request in seen]
        assert not any("content-type" in request.headers for request in seen)

    def test_a_transport_takes_the_place_of_a_proxy(self, call: Any) -> None:
        """A test with a transport never reaches the network, whatever the options say."""
        options = ClientOptions(api_key="sk-1", proxy="http://proxy.invalid:3128", max_retries=0)
        assert "cntr_1" == call(Script(200), lambda client: client.retrieve("cntr_1"), options).id

    def test_a_closed_client_says_so(self) -> None:
        """A call after ``close`` is a mistake of the program, told as such."""
        client = ContainersClient(OPTIONS, transport=httpx.MockTransport(Script(200)))
        client.close()
        client.close()
        with pytest.raises(RuntimeError, match="closed"):
            client.list()

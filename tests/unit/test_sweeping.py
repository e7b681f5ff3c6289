"""Which containers are swept, and how the list is walked."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_containers import identity, pricing, sweeping
from airflow_containers.api.errors import (
    AuthenticationError,
    ContainerGoneError,
    ContainersError,
    InvalidResponseError,
    ServerError,
)
from airflow_containers.api.models import Container, ContainerPage
from airflow_containers.identity import Owner, Run
from airflow_containers.sweeping import Pacer, Row, Rules, RunState, RunStates, Sweep, judge

HERE = "this-deployment"
NOW = 1_800_000_000
STATES = {
    "live": RunState.of("running"),
    "over": RunState.of("failed"),
    "absent": RunState.absent(),
    "unanswered": RunState.unanswered("ConnectError"),
}


def name(run_id: str = "over", *, deployment: str = HERE, label: str = "report") -> str:
    """The name of a container that a task of the DAG `reports` made in that run."""
    return Owner(deployment, "reports", run_id, "make").name(label, max_length=256)


def long_name(run_id: str = "over") -> str:
    """A name that has no room for ids."""
    return name(run_id, label="x" * 230)


def container(container_name: str | None, **fields: Any) -> Container:
    """A container that was made an hour ago."""
    known = {"id": "cntr_1", "status": "running", "created_at": NOW - 3600, "memory_limit": "1g"}
    return Container.model_validate({**known, "name": container_name, **fields})


def ask(run: Run) -> RunState:
    """The state that the run's id says."""
    return STATES[run.run_id]


def rules(**fields: Any) -> Rules:
    """Rules of this deployment."""
    return Rules(**{"deployment_id": HERE, **fields})


class TestJudge:
    """One container at a time."""

    @pytest.mark.parametrize(
        ("container_name", "older_than", "action", "owner", "reason"),
        [
            (name("live"), 1, "keep", "live", "run live of reports is running"),
            (name("over"), None, "delete", "over", "run over of reports is failed"),
            (name("absent"), None, "delete", "over", "run absent of reports is not in Airflow any more"),
            (
                name("unanswered"),
                1,
                "keep",
                "unknown",
                "run unanswered of reports could not be looked up (ConnectError)",
            ),
            (
                name("over", deployment="another"),
                None,
                "keep",
                "unknown",
                "the name proves no run of this deployment, and no age limit was given",
            ),
            (
                name("over", deployment="another"),
                61,
                "keep",
                "unknown",
                "the name proves no run of this deployment, and it is not older than 1:01:00",
            ),
            (
                name("over", deployment="another"),
                59,
                "delete",
                "unknown",
                "the name proves no run of this deployment, and it is older than 0:59:00",
            ),
            (
                long_name(),
                59,
                "delete",
                "unknown",
                "the name proves no run of this deployment, and it is older than 0:59:00",
            ),
        ],
    )
    def test_verdict(
        self, container_name: str, older_than: int | None, action: str, owner: str, reason: str
    ) -> None:
        """The run decides where it is proven and answered for, the age where no run is proven."""
        limit = None if older_than is None else timedelta(minutes=older_than)

        verdict = judge(container(container_name), rules=rules(older_than=limit), state_of=ask, now=NOW)

        assert verdict is not None
        assert (action, owner, reason) == (verdict.action, verdict.owner, verdict.reason)

    @pytest.mark.parametrize(
        "fields",
        [
            {"name": "report"},
            {"name": None},
            {"name": name()[:-1]},
            {"name": f"{name()} "},
            {"name": name(label="other")},
            {"name": name(), "status": "expired"},
            {"name": name(), "status": "deleted"},
        ],
        ids=str,
    )
    def test_not_looked_at(self, fields: dict[str, Any]) -> None:
        """No token, another prefix, or ended already."""
        seen = container(fields.pop("name"), **fields)
        assert judge(seen, rules=rules(prefix="rep"), state_of=ask, now=NOW) is None

    @pytest.mark.parametrize(
        ("fields", "minutes", "cost"),
        [
            ({}, 60, "$0.0900"),
            ({"created_at": NOW - 61}, 2, "$0.0075"),
            ({"created_at": NOW + 100}, 0, "$0.0075"),
            ({"created_at": None}, None, "?"),
            ({"memory_limit": None}, 60, "?"),
            ({"memory_limit": "64g"}, 60, "$5.7600"),
        ],
        ids=str,
    )
    def test_minutes_and_cost(self, fields: dict[str, Any], minutes: int | None, cost: str) -> None:
        """From the start until now; unknown where the service does not tell."""
        verdict = judge(container(name(), **fields), rules=rules(), state_of=ask, now=NOW)

        assert verdict is not None
        assert minutes == verdict.minutes
        assert cost == pricing.dollars(verdict.cost)

    def test_unknown_age_is_kept(self) -> None:
        """What is not known to be old is not deleted."""
        seen = container(long_name(), created_at=None)
        verdict = judge(seen, rules=rules(older_than=timedelta(seconds=1)), state_of=ask, now=NOW)
        assert verdict is not None
        assert "keep" == verdict.action

    def test_without_a_deployment_id_no_run_is_proven(self) -> None:
        """Not even by names that were made without one."""
        verdict = judge(container(name(deployment="")), rules=Rules(""), state_of=ask, now=NOW)
        assert verdict is not None
        assert ("keep", "unknown") == (verdict.action, verdict.owner)

    def test_token_of_a_live_run(self) -> None:
        """A name without ids is known by its token, where the live runs could be listed."""
        live = frozenset({identity.run_hash(HERE, "reports", "live")})
        given_rules = rules(older_than=timedelta(seconds=1), live_runs=live)
        actions = {}
        for run_id in ("live", "over"):
            verdict = judge(container(long_name(run_id)), rules=given_rules, state_of=_never, now=NOW)
            assert verdict is not None
            actions[run_id] = (verdict.action, verdict.owner)
        assert {"live": ("keep", "live"), "over": ("delete", "unknown")} == actions

    @pytest.mark.parametrize("limit", [timedelta(0), timedelta(seconds=-1)])
    def test_age_limit_is_above_zero(self, limit: timedelta) -> None:
        """Zero would delete what was made a moment ago."""
        with pytest.raises(ValueError, match="older_than"):
            rules(older_than=limit)


NAMES = st.one_of(
    st.text(max_size=40),
    st.builds(
        name,
        st.sampled_from(sorted(STATES)),
        deployment=st.sampled_from([HERE, "another", ""]),
        label=st.text("abc []-", max_size=240 - 30),
    ),
    st.builds(lambda text, end: text + end, st.builds(name, st.sampled_from(sorted(STATES))), st.text()),
)
CONTAINERS = st.builds(
    container,
    st.none() | NAMES,
    status=st.sampled_from(["running", "active", "expired", "deleted", None]),
    created_at=st.none() | st.integers(0, 2 * NOW),
    memory_limit=st.sampled_from(["1g", "4g", "2g", None]),
)
RULES = st.builds(
    rules,
    deployment_id=st.sampled_from([HERE, ""]),
    prefix=st.sampled_from([None, "", "report", "a"]),
    older_than=st.sampled_from([None, timedelta(seconds=1), timedelta(days=1)]),
)


class TestAnyContainer:
    """What holds for every container."""

    @given(CONTAINERS, RULES)
    def test_only_own_names_are_deleted(self, seen: Container, given_rules: Rules) -> None:
        """Whatever is deleted has a token at its end, the prefix at its start, and is alive."""
        verdict = judge(seen, rules=given_rules, state_of=ask, now=NOW)
        if verdict is not None:
            assert identity.has_owner_token(seen.name or "")
            assert (seen.name or "").startswith(given_rules.prefix or "")
            assert seen.is_alive

    @given(CONTAINERS, RULES, st.sampled_from(["live", "unanswered"]))
    def test_what_may_be_live_is_kept(self, seen: Container, given_rules: Rules, state: str) -> None:
        """A container whose run is proven is kept unless the run is over, whatever its age."""
        asked: list[Run] = []

        def state_of(run: Run) -> RunState:
            asked.append(run)
            return STATES[state]

        verdict = judge(seen, rules=given_rules, state_of=state_of, now=NOW)

        if asked:
            assert verdict is not None
            assert "keep" == verdict.action

    @given(CONTAINERS, RULES)
    def test_another_deployments_run_is_never_asked_for(self, seen: Container, given_rules: Rules) -> None:
        """So it is never over here, although a run of these ids may be."""
        foreign = container(name("over", deployment="another"), created_at=seen.created_at)

        verdict = judge(foreign, rules=given_rules, state_of=_never, now=NOW)

        if verdict is not None:
            assert "unknown" == verdict.owner
            assert "keep" == verdict.action or given_rules.older_than is not None

    @given(st.lists(CONTAINERS, max_size=20), RULES)
    def test_dry_run_deletes_nothing(self, seen: list[Container], given_rules: Rules) -> None:
        """And reports as due exactly what a real run deletes."""
        dry, wet = Service(seen), Service(seen)
        dry_sweep, wet_sweep = (
            service.sweep(rules=given_rules, dry_run=service is dry) for service in (dry, wet)
        )
        dry_sweep.run()
        wet_sweep.run()
        assert [] == dry.deleted
        assert dry_sweep.summary.due == len(wet.deleted) == wet_sweep.summary.deleted


def _never(run: Run) -> RunState:
    raise AssertionError(f"asked for {run}")


class Service:
    """A list of containers, newest first, that is asked page by page."""

    def __init__(self, containers: Iterable[Container], page_size: int = 3) -> None:
        self.containers = [
            seen.model_copy(update={"id": f"cntr_{number}"}) for number, seen in enumerate(containers)
        ]
        self.page_size = page_size
        self.calls: list[str] = []
        self.deleted: list[str] = []
        self.rows: list[Row] = []
        self.errors: dict[str, ContainersError] = {}

    def list_page(self, after: str | None) -> ContainerPage:
        """The page after that container, which has to be there."""
        self.calls.append(f"list {after}")
        assert after not in self.deleted
        start = 0 if after is None else 1 + [seen.id for seen in self.containers].index(after)
        data = self.containers[start : start + self.page_size]
        return ContainerPage(data=data, has_more=start + self.page_size < len(self.containers))

    def delete(self, container_id: str) -> None:
        """Delete, or fail as ordered."""
        self.calls.append(f"delete {container_id}")
        if container_id in self.errors:
            raise self.errors[container_id]
        self.deleted.append(container_id)

    def sweep(self, *, dry_run: bool = False, **fields: Any) -> Sweep:
        """A sweep of this service."""
        known: dict[str, Any] = {"runs": RunStates(ask), "rules": rules(), "now": lambda: NOW}
        return Sweep(
            list_page=self.list_page,
            delete=self.delete,
            report=self.rows.append,
            dry_run=dry_run,
            **{**known, **fields},
        )


class TestSweep:
    """The walk."""

    def test_summary(self) -> None:
        """Everything is counted once."""
        service = Service(
            [
                container(name("over")),
                container(name("live")),
                container(name("unanswered")),
                container(name("absent"), memory_limit="2g"),
                container("somebody's"),
                container(name("over"), status="expired"),
                container(name("over"), created_at=NOW - 60, memory_limit="4g"),
                container(long_name()),
            ]
        )
        service.errors["cntr_6"] = ContainerGoneError("gone")

        summary = service.sweep().run()

        assert {
            "dry_run": False,
            "pages": 3,
            "listed": 8,
            "others": 1,
            "ended": 1,
            "found": 6,
            "live": 1,
            "unknown": 2,
            "due": 3,
            "deleted": 2,
            "gone": 1,
            "failed": 0,
            "minutes": 120,
            "unpriced": 1,
            "cost": "$0.0900",
            "container_ids": ["cntr_0", "cntr_3"],
        } == summary.to_json()
        assert ["deleted", "keep", "keep", "deleted", "gone", "keep"] == [row.outcome for row in service.rows]
        assert (
            "(minutes alive 120, cost $0.0900 at the prices of 2026-10-07 and 1 of unknown cost)"
            in summary.lines()[2]
        )

    def test_pages_are_fetched_before_deletes(self) -> None:
        """A page's containers are deleted after the next page is there."""
        service = Service([container(name()) for _ in range(5)], page_size=2)

        service.sweep().run()

        assert [
            "list None",
            "list cntr_1",
            "delete cntr_0",
            "delete cntr_1",
            "list cntr_3",
            "delete cntr_2",
            "delete cntr_3",
            "delete cntr_4",
        ] == service.calls

    def test_pauses_before_each_request(self) -> None:
        """The request limit counts lists and deletes."""
        service = Service([container(name()) for _ in range(5)], page_size=2)

        service.sweep(pause=lambda: service.calls.append("pause")).run()

        assert ["pause"] * 8 == service.calls[::2]

    def test_failed_delete_does_not_stop(self) -> None:
        """Others are deleted; the first error of each kind is kept for the end."""
        service = Service([container(name()) for _ in range(5)])
        errors = [ServerError("one"), ServerError("two"), AuthenticationError("three")]
        service.errors = dict(zip(("cntr_0", "cntr_1", "cntr_3"), errors, strict=True))

        sweep = service.sweep()
        summary = sweep.run()

        assert (5, 2, 3) == (summary.due, summary.deleted, summary.failed)
        assert [errors[0], errors[2]] == sweep.failures
        assert "is failed; one" in str(service.rows[0])

    def test_many_failures_end_the_deleting(self) -> None:
        """A key that may not delete is not tried a hundred thousand times."""
        service = Service([container(name()) for _ in range(50)])
        service.errors = {f"cntr_{number}": AuthenticationError("no") for number in range(50)}

        summary = service.sweep().run()

        assert (50, 50) == (summary.due, summary.failed)
        assert sweeping.MAX_FAILURES_IN_A_ROW == sum(call.startswith("delete") for call in service.calls)

    def test_run_that_was_cleared_meanwhile(self) -> None:
        """The run is asked for again when its answer is older than ten seconds."""
        answers = [RunState.of("success"), RunState.of("running")]
        seconds = iter([0.0, 10.1])
        service = Service([container(name())])

        summary = service.sweep(runs=RunStates(lambda run: answers.pop(0), clock=lambda: next(seconds))).run()

        assert [] == service.deleted
        assert (0, 1) == (summary.due, summary.live)

    @pytest.mark.parametrize("cycle", [1, 2, 3, 7])
    def test_server_that_goes_in_circles(self, cycle: int) -> None:
        """It is noticed, with whatever length of the circle."""
        pages = [ContainerPage(data=[Container(id=f"cntr_{n}")], has_more=True) for n in range(cycle)]
        asked: list[str | None] = []

        def list_page(after: str | None) -> ContainerPage:
            asked.append(after)
            assert len(asked) < 100
            return pages[0] if after is None else pages[(int(after[5:]) + 1) % cycle]

        with pytest.raises(InvalidResponseError, match="two pages end with"):
            _sweep_of(list_page).run()

    def test_memory_stays_flat(self) -> None:
        """Pages are let go: ten times as many take no more memory."""
        peaks = []
        for pages in (30, 300):
            tracemalloc.start()
            _sweep_of(_endless(pages)).run()
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert peaks[1] < 1.3 * peaks[0]


def _sweep_of(list_page: Callable[[str | None], ContainerPage]) -> Sweep:
    return Sweep(
        list_page=list_page,
        delete=_no_delete,
        runs=RunStates(ask),
        rules=rules(),
        dry_run=True,
        report=lambda row: None,
    )


def _no_delete(container_id: str) -> None:
    raise AssertionError(f"deleted {container_id}")


def _endless(pages: int) -> Callable[[str | None], ContainerPage]:
    names = [name("over"), name("live"), "somebody's"]

    def list_page(after: str | None) -> ContainerPage:
        number = 0 if after is None else int(after[5:]) + 1
        data = [container(names[n % 3], id=f"cntr_{n}") for n in range(number, number + 100)]
        return ContainerPage(data=data, has_more=number + 100 < pages * 100)

    return list_page


class TestRunStates:
    """How often Airflow is asked."""

    def test_asked_once(self) -> None:
        """Also for many containers of one run, and again only for a confirmation."""
        asked: list[Run] = []
        time = [0.0]
        runs = RunStates(lambda run: asked.append(run) or ask(run), clock=lambda: time[0])
        run = Run("reports", "over")
        for seconds in (0, 5, 100):
            time[0] = seconds
            runs.state(run)
        assert [run] == asked
        runs.confirmed(run)
        runs.confirmed(run)
        assert [run] * 2 == asked

    def test_bounded(self) -> None:
        """The run that was not needed for longest is forgotten."""
        asked: list[Run] = []
        runs = RunStates(lambda run: asked.append(run) or STATES["live"])
        first = Run("reports", "0")
        for number in range(sweeping.MAX_REMEMBERED_RUNS):
            runs.state(Run("reports", str(number)))
        runs.state(first)
        runs.state(Run("reports", "new"))
        runs.state(first)
        runs.state(Run("reports", "1"))
        assert 1 == asked.count(first)
        assert 2 == asked.count(Run("reports", "1"))

    def test_gives_up_on_an_airflow_that_does_not_answer(self) -> None:
        """Three questions in a row, and no further one; what was known stays known."""
        asked: list[Run] = []
        runs = RunStates(
            lambda run: asked.append(run) or STATES["over" if run.run_id == "over" else "unanswered"]
        )
        over = Run("reports", "over")
        runs.state(over)
        for number in range(10):
            assert "unknown" == runs.state(Run("reports", str(number))).state
        assert 1 + sweeping.MAX_UNANSWERED_IN_A_ROW == len(asked)
        assert runs.problem is not None
        assert "over" == runs.state(over).state

    @pytest.mark.parametrize(
        ("airflows", "expected"),
        [
            ("running", "live"),
            ("queued", "live"),
            ("success", "over"),
            ("failed", "over"),
            ("paused", "unknown"),
            ("", "unknown"),
        ],
    )
    def test_states_of_airflow(self, airflows: str, expected: str) -> None:
        """A state that nobody knows yet is not taken for the end."""
        assert expected == RunState.of(airflows).state


class TestTable:
    """What a person sees."""

    def test_columns(self) -> None:
        """The cells stand under their heads, and the reason is last."""
        row = Row(_verdict(container(name("over"), id="cntr_" + "0" * 48)), "delete")
        head = sweeping.TABLE_HEAD
        line = str(row)
        assert line[head.index("CONTAINER") :].startswith("cntr_")
        assert line[head.index("NAME") :].startswith("report [reports over]-afc")
        assert line[head.index("WHY") :] == "run over of reports is failed"
        assert "60" == line[: head.index("MINUTES") + len("MINUTES")].rsplit(maxsplit=1)[-1]
        assert "$0.0900" == line[: head.index("COST") + len("COST")].rsplit(maxsplit=1)[-1]

    def test_foreign_characters(self) -> None:
        """A name cannot break the line or colour the terminal."""
        row = str(Row(_verdict(container("a\n\x1b[31m" + name())), "delete"))
        assert row.isprintable()


def _verdict(seen: Container) -> sweeping.Verdict:
    verdict = judge(seen, rules=rules(), state_of=ask, now=NOW)
    assert verdict is not None
    return verdict


@pytest.mark.parametrize(
    ("per_minute", "expected"), [(60, [0.0, 1.0, 2.0, 7.0]), (600, [0.0, 0.1, 0.2, 5.2])]
)
def test_pacer(per_minute: int, expected: list[float]) -> None:
    """Evenly spaced; a pause that came by itself is not made up for."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    pacer = Pacer(per_minute, clock=lambda: now[0], sleep=sleep)
    seen = []
    for extra in (0, 0, 0, 5):
        now[0] += extra
        pacer.wait()
        seen.append(round(now[0], 6))
    assert expected == seen

"""What the model check does not reach: names of other kinds, and errors as they are raised."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_containers.api.errors import AmbiguousCreateError, RateLimitError
from airflow_containers.api.models import Container, CreateContainerRequest
from airflow_containers.creation import (
    CLOCK_SKEW,
    Alive,
    Delete,
    Found,
    LookUp,
    Made,
    NotMade,
    Plan,
    Post,
    Record,
    Remember,
    Settled,
    Step,
    Touch,
    Unclear,
    create_once,
    fingerprint,
)
from airflow_containers.identity import Owner

NAME = Owner("a-deployment", "reports", "manual__1", "make").name("report", max_length=256)
RENAMED = Owner("a-deployment", "reports", "manual__1", "make").name("other", max_length=256)
NOW = 1_000_000.0


def plan(name: str = NAME, **fields: Any) -> Plan:
    """A plan with no time to wait."""
    return Plan(CreateContainerRequest(name=name), **{"pauses": (), **fields})


def record(name: str = NAME, **fields: Any) -> Record:
    """What an earlier try with that name has left."""
    print_ = fingerprint(CreateContainerRequest(name=name))
    return Record(
        **{"phase": "intent", "sent_at": NOW, "max_tries": 0, **fields}, name=name, fingerprint=print_
    )


def container(number: int = 1, **fields: Any) -> Container:
    """A container that nobody has used."""
    times = {"created_at": int(NOW), "last_active_at": int(NOW)}
    return Container.model_validate({"id": f"cntr_{number}", "name": NAME, **times, **fields})


def steps_of(plan: Plan, answers: dict[type, Any]) -> tuple[list[Step], Settled | Exception]:
    """Run the protocol with one answer for each kind of step; return the steps and what came of it."""
    protocol = create_once(plan, lambda: NOW)
    steps: list[Step] = []
    answer = None
    while True:
        try:
            step = protocol.send(answer)
        except StopIteration as stop:
            return steps, stop.value
        except Exception as error:  # noqa: BLE001 - whichever it is
            return steps, error
        steps.append(step)
        answer = answers.get(type(step))


def looked_up(steps: list[Step]) -> list[str]:
    """The names that were looked up."""
    return [step.name for step in steps if isinstance(step, LookUp)]


def test_a_name_without_token_is_never_looked_up_later() -> None:
    """A try with `unique_name=False` went before: containers of that bare name may be anybody's."""
    answers = {LookUp: Found(), Post: Made(container())}
    steps, _ = steps_of(plan(later_try=True, remembers=True, record=record("report")), answers)
    assert [NAME] == [*dict.fromkeys(looked_up(steps))]


def test_the_filter_is_not_trusted() -> None:
    """Before a later try sends a request, it reads without the server's filter what may be its own."""
    answers = {LookUp: Found(), Post: Made(container())}
    steps, _ = steps_of(plan(later_try=True, remembers=True, record=record()), answers)
    assert [None, record().sent_at - CLOCK_SKEW] == [
        step.created_since for step in steps if isinstance(step, LookUp)
    ][-2:]


def test_a_name_with_token_is_looked_up_though_the_task_has_none_now() -> None:
    """A try with `unique_name=True` went before: its container is ours, and not left behind."""
    answers = {LookUp: Found(), Post: Made(container())}
    before = plan("report", unique=False, later_try=True, remembers=True, record=record())
    steps, _ = steps_of(before, answers)
    assert [NAME] == [*dict.fromkeys(looked_up(steps))]


def test_both_names_of_a_renamed_container_are_looked_up() -> None:
    """A label that changes from one try to the next hides nothing where the name is remembered."""
    answers = {LookUp: Found(), Post: Made(container())}
    steps, _ = steps_of(plan(later_try=True, remembers=True, record=record(RENAMED)), answers)
    assert [NAME, RENAMED] == [*dict.fromkeys(looked_up(steps))]


@pytest.mark.parametrize("later_try", [False, True])
def test_nothing_is_looked_up_without_token(later_try: bool) -> None:
    """With `unique_name=False` a lost answer is an error, and no container is taken by its name."""
    lost = AmbiguousCreateError("no answer", name="report")
    steps, error = steps_of(plan("report", unique=False, later_try=later_try), {Post: Unclear(lost)})
    assert lost is error
    assert [] == looked_up(steps)


def test_a_known_container_is_taken_without_token() -> None:
    """With `unique_name=False` a container is taken over by its id, where that is remembered."""
    known = record("report", phase="created", container_id="cntr_1")
    made = container(name="report")
    steps, settled = steps_of(
        plan("report", unique=False, later_try=True, remembers=True, record=known), {Touch: Alive(made)}
    )
    assert Settled(made, "an earlier try of this task has made it") == settled
    assert [Touch, Remember] == [type(step) for step in steps]


def test_a_refused_request_is_forgotten() -> None:
    """What was certainly not made needs no look in the next try."""
    refused = RateLimitError("too fast", status_code=429)
    steps, error = steps_of(plan(remembers=True), {Post: NotMade(refused)})
    assert refused is error
    assert Remember(None) == steps[-1]


def test_two_lost_answers_and_nothing_found() -> None:
    """The error tells how often it was sent and how long it was looked for, and keeps the answer's facts."""
    lost = AmbiguousCreateError("no answer", name=NAME, status_code=500, request_id="req_1")
    steps, error = steps_of(plan(), {Post: Unclear(lost), LookUp: Found()})
    assert isinstance(error, AmbiguousCreateError)
    assert str(error) == (
        "no answer. It was sent 2 times in this try, and each time no container of that name turned up "
        "within 0 s"
    )
    assert (NAME, 500, "req_1") == (error.name, error.status_code, error.request_id)
    assert 2 == steps.count(Post())


def test_a_container_without_times_counts_as_used() -> None:
    """A service that tells no times proves nothing, so without a memory its container is deleted."""
    timeless = container(created_at=None, last_active_at=None)
    steps, _ = steps_of(plan(later_try=True), {LookUp: Found([timeless]), Post: Made(container(2))})
    reason = "it was active after its creation, so other tasks may have used it"
    assert Delete("cntr_1", reason) in steps

"""The link to a container's page."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import XCom

from airflow_containers.links import ContainerLink

URL = "https://platform.openai.com/containers/cntr_1"


class FakeTaskInstance:
    """Remembers what was pushed, and lets the link read it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.task = SimpleNamespace()
        self.pushed: dict[str, Any] = {}
        self.reads = 0
        monkeypatch.setattr(XCom, "get_value", self._get_value)

    def xcom_push(self, key: str, value: Any) -> None:
        """Keep the value."""
        self.pushed[key] = value

    def _get_value(self, *, key: str, ti_key: Any) -> Any:
        assert ti_key is self
        self.reads += 1
        return self.pushed.get(key)


@pytest.fixture
def ti(monkeypatch: pytest.MonkeyPatch) -> FakeTaskInstance:
    """A task instance whose XComs are a dict."""
    return FakeTaskInstance(monkeypatch)


def test_name() -> None:
    """The text on the button."""
    assert ContainerLink().name == "OpenAI container"


def test_the_worker_needs_no_xcom(ti: FakeTaskInstance) -> None:
    """The process that ran the task knows the link, and does not look for it."""
    ContainerLink.persist({"ti": ti}, URL)
    assert ti.pushed == {"container_link": URL}
    assert ContainerLink().get_link(ti.task, ti_key=ti) == URL
    assert ti.reads == 0


def test_another_process_reads_the_xcom(ti: FakeTaskInstance) -> None:
    """The web server of Airflow 2, and a worker after a deferral, only have the XCom."""
    ContainerLink.persist({"ti": ti}, URL)
    assert ContainerLink().get_link(SimpleNamespace(), ti_key=ti) == URL


@pytest.mark.parametrize("url", [None, ""])
def test_no_link_leaves_no_xcom(ti: FakeTaskInstance, url: str | None) -> None:
    """Where there is no dashboard nothing is pushed, and the worker does not look for what is not there."""
    ContainerLink.persist({"ti": ti}, url)
    assert ti.pushed == {}
    assert ContainerLink().get_link(ti.task, ti_key=ti) == ""
    assert ti.reads == 0


def test_a_later_link_replaces_none(ti: FakeTaskInstance) -> None:
    """Operators say first that there is none, and then what it is."""
    ContainerLink.persist({"ti": ti}, None)
    ContainerLink.persist({"ti": ti}, URL)
    assert ContainerLink().get_link(ti.task, ti_key=ti) == URL


@pytest.mark.parametrize("value", [None, 5, {"url": URL}])
def test_without_a_usable_xcom(ti: FakeTaskInstance, value: Any) -> None:
    """A task that never ran, or an XCom of somebody else, gives no link and no error."""
    ti.pushed["container_link"] = value
    assert ContainerLink().get_link(SimpleNamespace(), ti_key=ti) == ""

"""Triggers in virtual time."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from airflow_containers.triggers import _base, container
from tests.support.virtual_time import EPOCH, Run, Service, VirtualLoop


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    """A loop in virtual time."""
    loop = VirtualLoop()
    yield loop
    loop.close()


@pytest.fixture
def run(loop: VirtualLoop) -> Run:
    """Run a coroutine in virtual time."""
    return loop.run_until_complete


@pytest.fixture
def service(loop: VirtualLoop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Service:
    """The service that triggers get, with the clock of the loop for everything."""
    caplog.set_level(logging.INFO)
    made = Service(loop)

    @asynccontextmanager
    async def shared_service(conn_id: str) -> AsyncIterator[Service]:
        assert "mine" == conn_id
        yield made

    clock = SimpleNamespace(time=lambda: EPOCH + loop.time(), monotonic=loop.time)
    for module in (_base, container):
        monkeypatch.setattr(module, "shared_service", shared_service)
        monkeypatch.setattr(module, "time", clock)
    return made

"""Servers of every kind that the machine allows, one of each for a file of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.sandbox_driver import Driver, Mode, driver, modes

MODES = modes()


@pytest.fixture(scope="module", params=MODES, ids=lambda mode: mode.name)
def mode(request: pytest.FixtureRequest) -> Mode:
    """Who the server is."""
    found: Mode = request.param
    return found


@pytest.fixture(scope="module")
def server(mode: Mode) -> Iterator[Driver]:
    """A server's sandbox."""
    with driver(mode, processes=64, disk_bytes=64 << 20, output_bytes=1 << 20) as made:
        assert made.report["problem"] is None, made.report
        yield made

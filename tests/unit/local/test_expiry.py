"""Passes that remove what has expired."""

from __future__ import annotations

import asyncio

import pytest

from airflow_containers.local import expiry
from airflow_containers.local.expiry import Housekeeper


async def test_passes_go_on_after_one_that_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A failure is told and not the last pass; the end of the server is."""
    monkeypatch.setattr(expiry, "INTERVAL", 0.001)
    passes: list[int] = []
    enough = asyncio.Event()

    def sweep() -> None:
        passes.append(len(passes))
        if len(passes) == 1:
            raise OSError("the disk is tired")
        if len(passes) == 3:
            enough.set()

    async with Housekeeper([sweep]).running():
        await asyncio.wait_for(enough.wait(), 10)
    count = len(passes)
    await asyncio.sleep(0.02)

    assert count == len(passes) >= 3
    assert "the disk is tired" in capsys.readouterr().err

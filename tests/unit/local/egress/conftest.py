"""A gateway, and domains on the loopback interface behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.egress import World, world_in


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Domains and a gateway."""
    async with world_in(tmp_path) as made:
        yield made

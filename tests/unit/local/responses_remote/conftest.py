"""A server for models, and models on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from airflow_containers.local.egress.secrets import SecretText
from airflow_containers.local.responses.remote_model import RemoteModel
from tests.support.model_server import KEY, ModelServer


@pytest.fixture
def server() -> Iterator[ModelServer]:
    """A server that speaks both APIs; no request may have broken its rules at the end."""
    made = ModelServer()
    yield made
    made.close()
    assert [] == made.problems
    assert not made.answers


@pytest.fixture
async def connect(server: ModelServer) -> AsyncIterator[Callable[..., RemoteModel]]:
    """Make a model on the server."""
    made: list[RemoteModel] = []

    def connect(
        url: str = "", model: str | None = "test-model", key: str | None = KEY, **more: Any
    ) -> RemoteModel:
        secret = None if key is None else SecretText(key)
        made.append(RemoteModel(url or server.url, secret, model, **{"pause": 0.001, **more}))
        return made[-1]

    yield connect
    for model in made:
        await model.close()

"""The public names of the wire layer, and what importing them costs."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import typing
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import airflow_containers.api
from airflow_containers.api import AsyncContainersClient, ContainersClient, errors, models

PACKAGE = Path(airflow_containers.api.__file__).parent


def public(client: type[object]) -> dict[str, inspect.Signature]:
    """The public methods of a client with their signatures, without what ``await`` changes."""
    return {
        name: inspect.signature(member)
        for name, member in inspect.getmembers(client, inspect.isfunction)
        if not name.startswith("_")
    }


class TestParity:
    """The two clients are one client."""

    def test_they_have_the_same_operations(self) -> None:
        """No operation is missing on either side."""
        assert set(public(ContainersClient)) == set(public(AsyncContainersClient))
        calls = {"create", "retrieve", "list", "iterate", "delete"}
        assert calls | {"send", "pages", "download", "stream", "close"} == set(public(ContainersClient))

    @pytest.mark.parametrize("name", sorted(public(ContainersClient)))
    def test_with_the_same_arguments(self, name: str) -> None:
        """Names, kinds, defaults, annotations and order are equal; the answers are too, but for waiting."""
        plain, waiting = public(ContainersClient)[name], public(AsyncContainersClient)[name]
        assert plain.parameters == waiting.parameters
        returned = str(waiting.return_annotation).replace("AsyncIterator", "Iterator")
        returned = returned.replace("AbstractAsyncContextManager", "AbstractContextManager")
        assert str(plain.return_annotation) == returned

    @pytest.mark.parametrize("name", sorted(public(ContainersClient)))
    def test_with_the_same_words(self, name: str) -> None:
        """A docstring that was changed on one side only is out of date on the other."""
        plain = inspect.getdoc(getattr(ContainersClient, name))
        assert plain
        assert plain == inspect.getdoc(getattr(AsyncContainersClient, name))

    def test_all_of_one_wait_and_none_of_the_other(self) -> None:
        """Each operation of the async client is a coroutine, an async generator or an async context."""
        for name in public(ContainersClient):
            method = getattr(AsyncContainersClient, name)
            waits = inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)
            assert waits or "AbstractAsyncContextManager" in str(inspect.signature(method).return_annotation)
            plain = getattr(ContainersClient, name)
            assert not inspect.iscoroutinefunction(plain)
        hints = typing.get_type_hints(AsyncContainersClient.iterate)["return"]
        assert AsyncIterator is typing.get_origin(hints)
        assert Iterator is typing.get_origin(typing.get_type_hints(ContainersClient.iterate)["return"])


class TestExports:
    """``__all__`` is the whole surface."""

    def test_it_is_sorted_and_without_duplicates(self) -> None:
        """A name is found where one looks for it."""
        names = airflow_containers.api.__all__
        assert sorted(set(names)) == names

    def test_every_name_exists_and_dir_shows_it(self) -> None:
        """Names are loaded on first use, so a missing one would be found late."""
        for name in airflow_containers.api.__all__:
            found = getattr(airflow_containers.api, name)
            assert name == found.__name__
            assert found.__doc__
        assert set(airflow_containers.api.__all__) <= set(dir(airflow_containers.api))

    def test_the_loader_knows_the_same_names(self) -> None:
        """The table of the lazy loader and ``__all__`` are one list."""
        assert sorted(airflow_containers.api._MODULE_OF) == airflow_containers.api.__all__

    def test_it_is_complete(self) -> None:
        """Every error and every request model is public, with the answers a client returns."""
        raised = {
            name
            for name, value in vars(errors).items()
            if inspect.isclass(value) and issubclass(value, errors.ContainersError)
        }
        sent = {
            name
            for name, value in vars(models).items()
            if inspect.isclass(value)
            and issubclass(value, models.RequestModel)
            and value is not models.RequestModel
        }
        returned = {"Container", "ContainerPage", "DeletedContainer"}
        assert set() == (raised | sent | returned) - set(airflow_containers.api.__all__)

    def test_an_unknown_name_is_an_attribute_error(self) -> None:
        """As of any module, so that ``hasattr`` and ``from … import`` work."""
        assert not hasattr(airflow_containers.api, "Nothing")
        with pytest.raises(ImportError, match="Nothing"):
            exec("from airflow_containers.api import Nothing")

    def test_star_import(self) -> None:
        """``from airflow_containers.api import *`` brings the surface and nothing else."""
        space: dict[str, object] = {}
        exec("from airflow_containers.api import *", space)
        assert set(airflow_containers.api.__all__) == set(space) - {"__builtins__"}

    def test_the_tree_in_the_docstring_is_the_tree(self) -> None:
        """The picture at the top of ``errors`` has every class once, under its base."""
        assert errors.__doc__ is not None
        lines = [line for line in errors.__doc__.splitlines() if "Error" in line and line.startswith("    ")]
        parents: list[tuple[int, str]] = []
        drawn = {}
        for line in lines:
            indent = len(line) - len(line.lstrip(" │├└─"))
            name = line.lstrip(" │├└─").split()[0]
            while parents and parents[-1][0] >= indent:
                parents.pop()
            drawn[name] = parents[-1][1] if parents else None
            parents.append((indent, name))
        expected = {
            name: None if value is errors.ContainersError else value.__bases__[0].__name__
            for name, value in vars(errors).items()
            if inspect.isclass(value) and issubclass(value, errors.ContainersError)
        }
        assert expected == drawn


def loaded(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after some code."""
    script = (
        f"{code}\nimport json, sys\nprint(json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(done.stdout))


class TestImports:
    """Airflow imports the modules above this layer while it parses DAGs."""

    def test_the_package_alone_costs_nothing(self) -> None:
        """``import airflow_containers.api`` loads no third-party module at all."""
        heavy = {"httpx", "httpcore", "pydantic", "pydantic_core", "airflow", "idna", "starlette", "anyio"}
        before = loaded("")
        assert set() == (loaded("import airflow_containers.api") - before) & heavy

    def test_it_never_needs_airflow(self) -> None:
        """A plain script can use all of it: every module, and every name."""
        modules = [
            ".".join(("airflow_containers.api", *path.relative_to(PACKAGE).with_suffix("").parts))
            for path in PACKAGE.rglob("*.py")
            if path.stem != "__init__"
        ]
        code = "\n".join(
            [f"import {module}" for module in modules] + ["from airflow_containers.api import *"]
        )
        found = loaded(code) - loaded("")
        assert {"httpx", "pydantic"} <= found
        assert "airflow" not in found

    def test_models_need_no_http_client(self) -> None:
        """Checking a request, as operators do while a DAG is parsed, does not load httpx."""
        code = (
            "from airflow_containers.api import CreateContainerRequest, InvalidRequestError, validate\n"
            "validate(CreateContainerRequest, {'name': 'n'})"
        )
        assert "httpx" not in loaded(code) - loaded("")

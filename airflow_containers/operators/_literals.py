"""Checking what a DAG author wrote while the DAG is parsed, for plain and for mapped tasks."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import PurePath
from typing import Any, cast

from airflow_containers.operators._errors import InvalidTaskArgumentError

_EXPECTED_CONTAINER = (
    "the id of a container. The create task has pushed no id to XCom: check that it ran in this DAG run and "
    "succeeded. The ids of a mapped create task go to `expand`, one for each delete task"
)
DEFAULT_VISIBILITY_TIMEOUT = 30.0
"""Seconds. The service documents none."""

_DEFAULTS = {"unique_name": True, "on_retry": "adopt", "visibility_timeout": DEFAULT_VISIBILITY_TIMEOUT}
RENDERED_TO_NOTHING = frozenset({"", "None", "null", "undefined", "[]"})


def check_create_fields(task_id: str, fields: Mapping[str, Any], dag: Any = None) -> None:
    """Check the literal parts of a create task's fields.

    :param fields: all fields, or those that are known so far; see
        :func:`~airflow_containers.arguments.check_literals`.
    :param dag: the task's DAG, as far as it has one yet; paths of skills are relative to its file.
    :raises InvalidTaskArgumentError: naming the task and the field.
    """
    if all(value is _DEFAULTS.get(name) for name, value in fields.items()):
        return
    from airflow_containers.api.errors import InvalidRequestError
    from airflow_containers.arguments import check_literals
    from airflow_containers.operators._skill_folders import literal_check

    try:
        check_literals(fields, literal_check(dag))
    except InvalidRequestError as error:
        raise InvalidTaskArgumentError(f"Task {task_id!r}: {error}") from None
    except RecursionError:
        raise InvalidTaskArgumentError(
            f"Task {task_id!r}: one of {', '.join(fields)} is nested too deeply, or holds itself"
        ) from None


def check_id(task_id: str, field: str, value: Any, expected: str) -> None:
    """Check a text without which a task can do nothing, as it was written or as it was rendered.

    :param expected: what should be there, for the message.
    :raises InvalidTaskArgumentError: if it is no text, or one that a template renders to for nothing.
    """
    if isinstance(value, str) and value.strip() not in RENDERED_TO_NOTHING:
        return
    from airflow_containers.api.validation import quoted

    raise InvalidTaskArgumentError(f"Task {task_id!r}: {field}: got {quoted(value)}, expected {expected}")


def check_container_id(task_id: str, value: Any) -> None:
    """Check the id of a container, as it was written or as it was rendered.

    :raises InvalidTaskArgumentError: if it is none.
    """
    check_id(task_id, "container_id", value, _EXPECTED_CONTAINER)
    from airflow_containers.api.endpoints import retrieve_container
    from airflow_containers.api.errors import InvalidRequestError

    try:
        retrieve_container(value)
    except InvalidRequestError as error:
        raise InvalidTaskArgumentError(f"Task {task_id!r}: {error}") from None


def is_dynamic(value: Any) -> bool:
    """Whether ``value`` is known only when the task runs."""
    if isinstance(value, str) and "{" not in value:
        return False
    if hasattr(value, "resolve"):
        return True
    from airflow_containers import arguments

    return arguments.is_dynamic(value)


def without_path_objects(value: Any, depth: int = 3) -> Any:
    """Return the value of a templated field with a text for each :class:`~pathlib.Path` in it.

    Airflow 3.0 and 3.1 call ``resolve`` of whatever has it when they render; that of a path is another thing.

    :param depth: how far to look into lists and mappings: as far as fields have some.
    """
    if isinstance(value, PurePath) and type(value).__module__.partition(".")[0] == "pathlib":
        return str(value)
    if depth and type(value) in (list, tuple):
        return type(value)(without_path_objects(each, depth - 1) for each in value)
    if depth and type(value) is dict:
        return {key: without_path_objects(each, depth - 1) for key, each in value.items()}
    return value


def check_when_expanded(partial: Any, field_names: Sequence[str]) -> Any:
    """Return ``partial``, changed so that its ``expand`` checks literals first.

    Airflow builds a mapped task's operator only when the task runs, so without this a wrong literal would
    be found by the first run. Where Airflow's class is not as expected, ``partial`` is returned as it is,
    and the first run finds it.
    """
    with suppress(AttributeError, ImportError, TypeError):
        kind = _checking_class(type(partial), tuple(field_names))
        checked = kind(operator_class=partial.operator_class, kwargs=partial.kwargs, params=partial.params)
        # The replaced object warns on deletion that it was never expanded.
        partial._expand_called = True  # noqa: SLF001
        return checked
    return partial


def _checking_class(base: type[Any], field_names: tuple[str, ...]) -> type[Any]:
    class CheckingPartial(base):  # type: ignore[misc]
        def _check(self, mapped: Mapping[str, Any], varying: Collection[str] = ()) -> None:
            """Check one task instance's fields; nothing is known of those that ``varying`` names."""
            # Defaults are not in the partial arguments: they come when the task is made from them. A
            # subclass may set a field in its constructor; what its signature does not tell is not known.
            signature = inspect.signature(self.operator_class.__init__).parameters
            defaults = {name: signature[name].default for name in field_names if name in signature}
            fields = {**defaults, **_default_arguments(self.kwargs), **self.kwargs, **mapped}
            known = {
                name: fields[name]
                for name in field_names
                if name in mapped or (name in fields and name not in varying)
            }
            check_create_fields(self.kwargs["task_id"], known, self.kwargs.get("dag"))

        def expand(self, **mapped_kwargs: Any) -> Any:
            # What is refused here should not be called forgotten on top of that.
            self._expand_called = True
            self._check({}, mapped_kwargs)
            for name in set(field_names) & mapped_kwargs.keys():
                for value in _literal_entries(mapped_kwargs[name]):
                    self._check({name: value}, mapped_kwargs)
            return super().expand(**mapped_kwargs)

        def expand_kwargs(self, kwargs: Any, *, strict: bool = True) -> Any:
            self._expand_called = True
            for mapped in kwargs if isinstance(kwargs, list | tuple) else ():
                if isinstance(mapped, Mapping):
                    self._check(mapped)
            return super().expand_kwargs(kwargs, strict=strict)

    CheckingPartial.__name__ = base.__name__
    return cast("type[Any]", CheckingPartial)


def _default_arguments(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for holder in (kwargs.get("dag"), kwargs.get("task_group")):
        found |= getattr(holder, "default_args", None) or {}
    return found | (kwargs.get("default_args") or {})


def _literal_entries(values: Any) -> Sequence[Any]:
    """Return what a mapped argument's entries will be, as far as that is written in the DAG."""
    if isinstance(values, list | tuple):
        return values
    return list(values.items()) if isinstance(values, dict) else []

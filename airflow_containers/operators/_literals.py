"""Checking what a DAG author wrote while the DAG is parsed, for plain and for mapped tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

from airflow_containers.operators._errors import InvalidTaskArgumentError


def check_create_fields(task_id: str, fields: Mapping[str, Any]) -> None:
    """Check the literal parts of a create task's fields.

    :raises InvalidTaskArgumentError: naming the task and the field.
    """
    if all(value is None for value in fields.values()):
        return
    from airflow_containers.api.errors import InvalidRequestError
    from airflow_containers.arguments import check_literals

    try:
        check_literals(fields)
    except InvalidRequestError as error:
        raise InvalidTaskArgumentError(f"Task {task_id!r}: {error}") from None


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
        def _check(self, mapped: Mapping[str, Any]) -> None:
            given = {name: self.kwargs[name] for name in field_names if name in self.kwargs}
            for name in field_names:
                values = mapped.get(name)
                for value in _literal_entries(values):
                    others = {other: given[other] for other in given if other not in mapped}
                    check_create_fields(self.kwargs["task_id"], others | {name: value})

        def expand(self, **mapped_kwargs: Any) -> Any:
            self._check(mapped_kwargs)
            return super().expand(**mapped_kwargs)

        def expand_kwargs(self, kwargs: Any, *, strict: bool = True) -> Any:
            for mapped in kwargs if isinstance(kwargs, list | tuple) else ():
                if isinstance(mapped, Mapping):
                    self._check({name: [value] for name, value in mapped.items()})
            return super().expand_kwargs(kwargs, strict=strict)

    CheckingPartial.__name__ = base.__name__
    return cast("type[Any]", CheckingPartial)


def _literal_entries(values: Any) -> Sequence[Any]:
    """Return what a mapped argument's entries will be, as far as that is written in the DAG."""
    if isinstance(values, list | tuple):
        return values
    return list(values.items()) if isinstance(values, dict) else []

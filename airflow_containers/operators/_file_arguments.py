"""The arguments of the tasks that transfer files: as they are written, and as they are rendered."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from airflow_containers.operators._errors import InvalidTaskArgumentError
from airflow_containers.operators._literals import RENDERED_TO_NOTHING, check_id, is_dynamic

IF_NOTHING_MATCHES: Final = ("fail", "skip", "ignore")
MAX_PARALLEL: Final = 32
NOTHING: Final = "; if a template made it, the template rendered to nothing"
TEXTS_EXPECTED: Final = (
    "a mapping of file names to texts or JSON values, such as {'config.json': {…}}, or a template that "
    "renders to one"
)

TARGET_EXPECTED: Final = (
    "the absolute path of a folder on the worker, or the URL of one in a store, such as 's3://bucket/out'"
)


def refuse(task_id: str, field: str, value: Any, expected: str) -> NoReturn:
    """Say what is wrong with an argument.

    :raises InvalidTaskArgumentError: always.
    """
    from airflow_containers.api.validation import quoted

    raise InvalidTaskArgumentError(f"Task {task_id!r}: {field}: got {quoted(value)}, expected {expected}")


def is_path(value: Any) -> bool:
    """Whether a value is a path, on the worker or in a store: those of Airflow 3.3 are no ``os.PathLike``."""
    return isinstance(value, os.PathLike) or hasattr(type(value), "joinpath")


def is_open(value: Any) -> bool:
    """Whether an argument is known only when the task runs. A path is known, though it has a ``resolve``."""
    if is_path(value):
        return False
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(is_open, value))
    return is_dynamic(value)


def as_entries(task_id: str, field: str, value: Any, expected: str, *, literal: bool = False) -> list[str]:
    """Return a field that takes one text or several as a list of texts.

    :param value: a text or path, several of them, or text that is a JSON list or a Python list literal;
        ``None`` for none.
    :param expected: what an entry should be, for the message.
    :param literal: as it was written; entries that are known only when the task runs are left out.
    :raises InvalidTaskArgumentError: if an entry is something else.
    """
    listed = f"{expected}, or a list of some"
    if value is None or (literal and not isinstance(value, list | tuple) and is_open(value)):
        return []
    if isinstance(value, str):
        if value.strip() in RENDERED_TO_NOTHING - {"[]"}:
            refuse(task_id, field, value, listed + NOTHING)
        value = _parsed(value, list | tuple, [value])
    elif is_path(value):
        value = [value]
    if isinstance(value, set | frozenset):
        value = sorted(value, key=str)
    if isinstance(value, bytes | bytearray | Mapping) or not isinstance(value, Sequence):
        refuse(task_id, field, value, listed)
    return [
        _as_text(task_id, f"{field}[{index}]", entry, expected)
        for index, entry in enumerate(value)
        if not (literal and is_open(entry))
    ]


def as_texts(task_id: str, value: Any, *, literal: bool = False) -> dict[str, bytes]:
    """Return the contents of the files that a task writes itself, by name.

    :param value: a mapping, or text that is one in JSON or as a Python literal; ``None`` for none.
    :param literal: as it was written; what is known only when the task runs is left out.
    :raises InvalidTaskArgumentError: if a name cannot be a file's, or a value cannot be written as JSON.
    """
    if value is None or (literal and not isinstance(value, Mapping) and is_open(value)):
        return {}
    if isinstance(value, str):
        if value.strip() in RENDERED_TO_NOTHING:
            refuse(task_id, "texts", value, TEXTS_EXPECTED + NOTHING)
        value = _parsed(value, dict, value)
    if not isinstance(value, Mapping):
        refuse(task_id, "texts", value, TEXTS_EXPECTED)
    contents = {}
    for name, content in value.items():
        _check_name(task_id, name, literal=literal)
        if not (literal and is_open(content)):
            contents[name] = _as_content(task_id, f"texts[{name!r}]", content)
    return contents


def as_target(task_id: str, value: Any) -> str:
    """Return where files are to be written to, as text.

    :param value: the absolute path of a folder, or a URL.
    :raises InvalidTaskArgumentError: if it is something else.
    """
    from airflow_containers.operators._stores import StoreError, check_url, is_url

    target = str(value) if is_path(value) else value
    if not isinstance(target, str) or target.strip() in RENDERED_TO_NOTHING:
        refuse(task_id, "target", value, TARGET_EXPECTED)
    if "\0" in target or not (is_url(target) or target.startswith("/")):
        refuse(task_id, "target", value, TARGET_EXPECTED)
    try:
        check_url(target)
    except StoreError as error:
        raise InvalidTaskArgumentError(f"Task {task_id!r}: target: {error}") from None
    return target


def check_common(task: Any, *, literal: bool) -> None:
    """Check what both tasks have: where, by which connection, how much.

    :param literal: as it was written; what is a template is not looked at.
    :raises InvalidTaskArgumentError: if something is wrong.
    """
    from airflow_containers.operators._literals import check_container_id

    if not literal or not is_dynamic(task.container_id):
        check_container_id(task.task_id, task.container_id)
    if not literal or not is_dynamic(task.conn_id):
        check_id(task.task_id, "conn_id", task.conn_id, "the id of an Airflow connection")
    for field, largest in (("max_files", 1_000_000), ("max_bytes", 1 << 50), ("parallel", MAX_PARALLEL)):
        value = getattr(task, field)
        if type(value) is not int or not 1 <= value <= largest:
            refuse(task.task_id, field, value, f"an integer from 1 to {largest}; it takes no template")
    if task.if_nothing_matches not in IF_NOTHING_MATCHES:
        refuse(
            task.task_id,
            "if_nothing_matches",
            task.if_nothing_matches,
            "'fail', 'skip' or 'ignore'; it takes no template",
        )


def check_some_given(task: Any, fields: Sequence[str]) -> None:
    """Check that a task has something to transfer.

    :raises InvalidTaskArgumentError: if all of the fields are empty.
    """
    if all(getattr(task, field) is None or getattr(task, field) in ([], (), {}) for field in fields):
        raise InvalidTaskArgumentError(
            f"Task {task.task_id!r}: there is nothing to transfer, expected at least one of "
            f"{', '.join(fields)}"
        )


def _parsed(text: str, kind: Any, otherwise: Any) -> Any:
    """Return what a text is as JSON or as a Python literal, if that is of a kind."""
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
        if isinstance(found, kind):
            return found
    return otherwise


def _as_text(task_id: str, field: str, entry: Any, expected: str) -> str:
    if is_path(entry):
        # `str` and not `fspath`: that of a path in a store has no scheme.
        entry = str(entry)
    if not isinstance(entry, str):
        refuse(task_id, field, entry, expected)
    if entry.strip() in RENDERED_TO_NOTHING:
        refuse(task_id, field, entry, expected + NOTHING)
    if "\0" in entry:
        raise InvalidTaskArgumentError(
            f"Task {task_id!r}: {field}: it has a null character, expected {expected}"
        )
    return entry


def _check_name(task_id: str, name: Any, *, literal: bool) -> None:
    if not isinstance(name, str):
        refuse(task_id, "texts", name, "a text as the name of each file")
    if literal and is_dynamic(name):
        refuse(
            task_id,
            "texts",
            name,
            "names without templates: of a mapping Airflow renders the values only. Let one template render "
            "to the whole mapping",
        )
    whole = name.strip() and name not in {".", ".."} and name.isprintable()
    if not whole or len(name.encode(errors="replace")) > 255 or any(sign in name for sign in '/\\"'):
        refuse(
            task_id,
            "texts",
            name,
            "as the name of each file 1 to 255 printable bytes without slashes and quotation marks; the "
            "service chooses the folder",
        )


def _as_content(task_id: str, field: str, content: Any) -> bytes:
    expected = "a text, or a value that can be written as JSON"
    if content is None:
        refuse(task_id, field, content, expected + NOTHING)
    text: str = content
    if not isinstance(content, str):
        try:
            text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=2) + "\n"
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidTaskArgumentError(
                f"Task {task_id!r}: {field}: expected {expected}: {error}"
            ) from None
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidTaskArgumentError(
            f"Task {task_id!r}: {field}: it has half of a surrogate pair, expected a text that can be "
            "encoded as UTF-8"
        ) from None

"""Pages of lists with a cursor, for all services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_containers.local.errors import InvalidRequestError
from airflow_containers.local.store import Store


class UnknownCursorError(InvalidRequestError):
    """``after`` names nothing that was ever in the list (400).

    :param what: is in the list.
    """

    def __init__(self, what: str) -> None:
        super().__init__(
            f"Invalid 'after': no {what} with this id. Expected the id of a {what} from the list.",
            param="after",
            code="invalid_value",
        )


def select_page(
    store: Store,
    table: str,
    columns: str,
    where: Mapping[str, object],
    what: str,
    *,
    limit: int,
    order: str = "desc",
    after: str | None = None,
) -> tuple[list[tuple[Any, ...]], bool]:
    """Rows of one page that are not deleted, in the order they were made, and whether there are more.

    :param where: values that columns must have.
    :param what: the rows are, for the error.
    :param after: id of the row before the page; one that was deleted since still marks its place.
    :raises UnknownCursorError: when ``after`` was never in the list.
    """
    conditions = "".join(f" AND {column} = ?" for column in where)
    values = list(where.values())
    sql = f"SELECT {columns} FROM {table} WHERE deleted IS NULL{conditions}"  # noqa: S608 - our own names
    if after is not None:
        row = store.execute(
            f"SELECT seq FROM {table} WHERE id = ?{conditions}",  # noqa: S608
            (after, *where.values()),
        ).fetchone()
        if row is None:
            raise UnknownCursorError(what)
        sql += f" AND seq {'<' if order == 'desc' else '>'} ?"
        values.extend(row)
    # The clock never goes back, so this is the order of `created_at`, and stable where it is equal.
    sql += f" ORDER BY seq {'DESC' if order == 'desc' else 'ASC'} LIMIT ?"
    rows = store.execute(sql, (*values, limit + 1)).fetchall()
    return rows[:limit], len(rows) > limit


def envelope(data: Sequence[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """A page as the API shows it."""
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }

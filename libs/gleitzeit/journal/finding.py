"""`Journal.find` in SQL, as SQLite and PostgreSQL both understand it (`?` stands for a value), and in memory."""

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Raw

from gleitzeit.journal.base import Find, Summary, Unfinished

Row = tuple[Any, ...]
SUMMARY_COLUMNS = "name, kind, key, status, active, created_at, updated_at, due_at, expires_at, counts"


def summary_of(row: Row) -> Summary:
    name, kind, key, status, active, created_at, updated_at, due_at, expires_at, counts = row
    return Summary(name, kind, key, status, bool(active), created_at, updated_at, due_at, expires_at, Raw(counts))


def branches(query: Find) -> Iterator[tuple[str, Row]]:
    """WHERE clauses whose rows, merged, answer the query: one for each key or status, as each is one walk on an index
    that ends at the limit, while `IN` would sort all that match."""
    where = "kind = ?"
    values: list[str | int] = [query.kind]
    if query.active is not None:
        where += f" AND active = {int(query.active)}"
    if query.stream_prefix:
        where += " AND name >= ? AND substr(name, 1, ?) = ?"
        values += [query.stream_prefix, len(query.stream_prefix), query.stream_prefix]
    if query.before is not None:
        where += " AND (created_at, name) < (?, ?)"
        values += query.before
    if query.keys:
        if query.statuses:
            where += f" AND status IN ({','.join('?' * len(query.statuses))})"
            values += query.statuses
        for key in set(query.keys):
            yield f"{where} AND key = ?", (*values, key)
    elif query.statuses:
        for status in set(query.statuses):
            yield f"{where} AND status = ?", (*values, status)
    else:
        yield where, tuple(values)


def matches(summary: Summary, query: Find) -> bool:
    return (
        summary.kind == query.kind
        and (not query.keys or summary.key in query.keys)
        and (not query.statuses or summary.status in query.statuses)
        and summary.stream.startswith(query.stream_prefix)
        and (query.active is None or summary.active == query.active)
        and (query.before is None or position(summary) < query.before)
    )


def unfinished(summary: Summary, events: Sequence[bytes]) -> Unfinished:
    return Unfinished(summary.stream, summary.created_at, summary.updated_at, list(events))


def position(summary: Summary) -> tuple[int, str]:
    return summary.created_at, summary.stream

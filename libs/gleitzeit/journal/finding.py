"""`Journal.find` in SQL, as SQLite and PostgreSQL both understand it (`?` stands for a value), and in memory."""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from msgspec import Raw

from gleitzeit.journal.base import Find, Summary, Unfinished

Row = tuple[Any, ...]
SUMMARY_COLUMNS = "name, kind, key, status, active, created_at, updated_at, due_at, expires_at, counts"


def summary_of(row: Row) -> Summary:
    """Also of one that is damaged: it must not hide the others."""
    name, kind, key, status, active, created_at, updated_at, due_at, expires_at, counts = row
    if not (type(created_at) is type(updated_at) is int and type(counts) is bytes):
        created_at, updated_at = _whole(created_at) or 0, _whole(updated_at) or 0
        counts = counts if isinstance(counts, bytes | str) else b"null"
    due_at, expires_at = _whole(due_at), _whole(expires_at)
    return Summary(
        str(name), kind, str(key), str(status), bool(active), created_at, updated_at, due_at, expires_at, Raw(counts)
    )


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def branches(query: Find) -> Iterator[tuple[str, Row]]:
    """WHERE clauses whose rows, merged, answer the query: one for each key or status, as each is one walk on an index
    that ends at the limit, while `IN` would sort all that match."""
    # By name what is wanted is a piece of the index of names: that of kinds must not be taken for it.
    where = "kind = ?" if query.after is None else "kind || '' = ?"
    values: list[str | int] = [query.kind]
    if query.active is not None:
        where += f" AND active = {int(query.active)}"
    prefix = query.stream_prefix
    if prefix:
        where += " AND name < ? AND substr(name, 1, ?) = ?"
        values += [above(prefix), len(prefix), prefix]
    if query.after is not None and query.after >= prefix:
        where += " AND name > ?"
        values.append(query.after)
    elif prefix:
        where += " AND name >= ?"
        values.append(prefix)
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


def order(query: Find) -> str:
    """For the rows of each of its branches."""
    return "name" if query.after is not None else "created_at DESC, name DESC"


def first(query: Find, found: Iterable[Summary]) -> list[Summary]:
    """As many as it asks for, in its order, of all that its branches found."""
    if query.after is not None:
        return heapq.nsmallest(query.limit, found, key=lambda summary: summary.stream)
    return heapq.nlargest(query.limit, found, key=position)


def above(prefix: str) -> str:
    """What comes in the order of names after all that begins with it, or soon after."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix[-1] < "\ud7ff" else prefix + chr(0x10FFFF)


def matches(summary: Summary, query: Find) -> bool:
    return (
        summary.kind == query.kind
        and (not query.keys or summary.key in query.keys)
        and (not query.statuses or summary.status in query.statuses)
        and summary.stream.startswith(query.stream_prefix)
        and (query.active is None or summary.active == query.active)
        and (query.before is None or position(summary) < query.before)
        and (query.after is None or summary.stream > query.after)
    )


def unfinished(summary: Summary, events: Sequence[bytes]) -> Unfinished:
    return Unfinished(summary.stream, summary.created_at, summary.updated_at, list(events))


def position(summary: Summary) -> tuple[int, str]:
    return summary.created_at, summary.stream

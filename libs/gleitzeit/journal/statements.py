"""Statements for many rows at once, few different ones, so that all stay prepared.

A commit costs a handful of statements however many streams it names: rows go in by up to 64 a statement. That is less a
matter of SQLite than of the interpreter's lock, which sqlite3 gives up in each statement and must win back from a busy
event loop.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import lru_cache
from typing import Any, TypeVar

from gleitzeit.journal.finding import Row

_ROWS = 64  # in one statement
_T = TypeVar("_T")


def insert(connection: sqlite3.Connection, statement: tuple[str, str], rows: Sequence[Row]) -> None:
    """`statement` is what stands before the values and after them."""
    for chunk in _chunks(rows):
        values = [value for row in chunk for value in row]
        connection.execute(_with_values(statement, len(chunk[0]), len(chunk)), values)


def select(connection: sqlite3.Connection, statement: tuple[str, str], values: Sequence[Any]) -> Iterator[Row]:
    """`statement` is what stands before the list of values and after it."""
    for chunk in _chunks(values):
        with closing(connection.execute(_with_list(statement, len(chunk)), chunk)) as rows:
            yield from rows


def _chunks(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Pieces of 64, then of smaller powers of two."""
    start = 0
    while start < len(items):
        size = min(_ROWS, 1 << (len(items) - start).bit_length() - 1)
        yield items[start : start + size]
        start += size


@lru_cache
def _with_values(statement: tuple[str, str], width: int, rows: int) -> str:
    return statement[0] + ",".join([f"({','.join('?' * width)})"] * rows) + statement[1]


@lru_cache
def _with_list(statement: tuple[str, str], length: int) -> str:
    return statement[0] + ",".join("?" * length) + statement[1]

"""How the events of an append become records, the rows of a journal file, and events again."""

import zlib
from collections.abc import Iterator, Sequence

from msgspec import Struct

from gleitzeit.errors import JournalCorrupt
from gleitzeit.journal.base import Append, Record, Summary

RECORD_BYTES = 1 << 20  # where the events of one append are cut into several records
SHORT_BYTES = 16 << 10  # of a record that is read with hundreds of others
SQUEEZED_BYTES = 128 << 10
"""A record of that size is compressed: it is one commit, for which all others wait."""
_SAMPLE_BYTES = 16 << 10
"""What begins with so much that is not worth it is left as it is."""
_SQUEEZED = b"\0"
"""How it begins then; what begins so by itself is compressed, too."""
_LAST_TIME = 2**63 - 1


class Packed(Struct):
    """One Append as `(last seq, number of events, checksum, body)`."""

    stream: str
    seq: int
    last: int
    records: list[tuple[int, int, int, bytes]]
    summary: Summary
    blobs: tuple[str, ...] = ()


def pack(append: Append) -> Packed:
    """Raises ValueError if an event holds a newline, the summary is another stream's, or a value is none SQLite can
    hold: such a commit must not reach the transaction that it shares with others."""
    stream, summary = append.stream, append.summary
    if summary.stream != stream:
        raise ValueError(f"an append to {stream!r} with the summary of {summary.stream!r}")
    (stream + summary.kind + summary.key + summary.status).encode()  # fails on a lone surrogate
    times = summary.created_at, summary.updated_at, summary.due_at or 0, summary.expires_at or 0
    if max(times) > _LAST_TIME or min(times) < -_LAST_TIME:
        raise ValueError(f"a time in the summary of {stream!r} is out of range")
    records, last = [], append.seq - 1
    for events in _cut(append.events):
        last += len(events)
        body = b"\n".join(events)
        if body.count(b"\n") != len(events) - 1:
            raise ValueError(f"an event for {stream!r} holds a newline")
        records.append((last, len(events), checksum(stream, last, len(events), body), body))
    return Packed(stream, append.seq, last, records, summary, append.blobs)


def packed(commit: Sequence[Append]) -> list[Packed]:
    """As they are stored. Raises as `pack`."""
    found = [pack(append) for append in commit]
    for one in found:
        one.records = [squeezed(one.stream, record) for record in one.records]
    return found


def size_of(commit: Sequence[Append]) -> int:
    return sum(len(event) for append in commit for event in append.events)


def _cut(events: tuple[bytes, ...]) -> Iterator[tuple[bytes, ...]]:
    if sum(map(len, events)) <= RECORD_BYTES:
        if events:
            yield events
        return
    start = size = 0
    for index, event in enumerate(events):
        if size and size + len(event) > RECORD_BYTES:
            yield events[start:index]
            start, size = index, 0
        size += len(event)
    yield events[start:]


def checksum(stream: str, last: int, count: int, body: bytes) -> int:
    """Covers where a record belongs too: a row that is intact but in the wrong place is as wrong."""
    return zlib.crc32(body, zlib.crc32(f"{last} {count} {stream}".encode()))


def squeezed(stream: str, record: tuple[int, int, int, bytes]) -> tuple[int, int, int, bytes]:
    """The record as it is stored: compressed if it is large and that seems worth it. Takes 12 ms for a MiB."""
    last, count, _, body = record
    if not body.startswith(_SQUEEZED) and not _shrinks(body):
        return record
    less = _SQUEEZED + zlib.compress(body, 1)
    return last, count, checksum(stream, last, count, less), less


def _shrinks(body: bytes) -> bool:
    sample = body[:_SAMPLE_BYTES]
    return len(body) >= SQUEEZED_BYTES and len(zlib.compress(sample, 1)) < len(sample) * 3 // 4


def unpack(stream: str, last: int, count: int, crc: int, body: bytes) -> list[Record]:
    """What `squeezed` has given. Raises JournalCorrupt if the checksum does not match."""
    _check(stream, last, count, crc, body)
    is_squeezed = body.startswith(_SQUEEZED)
    return _records(last - count + 1, zlib.decompress(memoryview(body)[len(_SQUEEZED) :]) if is_squeezed else body)


def _check(stream: str, last: int, count: int, crc: int, body: bytes) -> None:
    if not _is_intact(stream, last, count, crc, body):
        raise JournalCorrupt(f"the stream {stream} is damaged in its events {last - count + 1} to {last}")


def _records(first: int, body: bytes) -> list[Record]:
    return [Record(seq, event) for seq, event in enumerate(body.split(b"\n"), first)]


def unpack_whole(stream: str, last: int, count: int, crc: int, body: bytes) -> list[bytes]:
    """The events of a record that is its whole stream, and small; none of one that is not, or is damaged."""
    if count != last or not _is_intact(stream, last, count, crc, body) or body.startswith(_SQUEEZED):
        return []
    return body.split(b"\n")


def _is_intact(stream: str, last: int, count: int, crc: int, body: object) -> bool:
    return isinstance(body, bytes) and crc == checksum(stream, last, count, body)

"""`gz journal export` and `import`: a whole journal as lines of JSON, from any kind into any other.

    {"gleitzeit_journal": 1, "exported_at": …}
    {"blob": "sha256:…", "size_bytes": …, "offset": …, "base64": "…"}      before the streams that refer to it
    {"stream": "…", "seq": 1, "events": […], "summary": {…}, "blobs": […], "crc": …}   as often as it takes
    {"end": {"streams": …, "events": …}}

`crc` is the CRC-32 of the events as they stand in the line.
"""

import base64
import re
import sys
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Raw, Struct

from gleitzeit.errors import BlobNotFound, ConfigurationError, JournalConflict, JournalCorrupt
from gleitzeit.journal.base import Append, Find, JournalView, OwnedJournal, Record, Summary
from gleitzeit.process.reach import Target
from gleitzeit.spec.urls import shown
from gz_cli import exits
from gz_cli.journal.access import KINDS, WORKFLOWS, looked_at, opened, pages_of, rows_of
from gz_cli.terminal.talk import say

FORMAT = 1
_BLOB = re.compile(rb'"\$blob":\s*"(sha256:[0-9a-f]{64})"')
_encode = msgspec.json.Encoder().encode


class Line(Struct, omit_defaults=True):
    """Any line of the file."""

    gleitzeit_journal: int = 0
    exported_at: int = 0
    blob: str = ""
    size_bytes: int = 0
    offset: int = 0
    base64: str = ""
    stream: str = ""
    seq: int = 0
    events: Raw = Raw(b"[]")
    summary: Summary | None = None
    blobs: tuple[str, ...] = ()
    crc: int = 0
    end: dict[str, int] | None = None


async def export(url: str, target: Target, file_name: Path | None) -> int:
    """Everything but the cache. A stream that cannot be read is said and left out; the exit code tells."""
    streams, events, problems, done = 0, 0, 0, set[str]()
    async with looked_at(url, target) as journal:
        with _writing(file_name) as file:
            file.write(_line(Line(gleitzeit_journal=FORMAT, exported_at=int(time.time() * 1000))))
            for kind in KINDS:
                if kind == "cache":
                    continue
                async for row in rows_of(journal, Find(kind)):
                    try:
                        lines = [line async for line in _stream(journal, row, done)]
                    except JournalConflict:  # deleted since we began
                        continue
                    except (JournalCorrupt, BlobNotFound) as error:
                        problems += 1
                        say(f"left out: {row.stream}: {error}")
                        continue
                    file.writelines(line for line, _ in lines)
                    streams += 1
                    events += sum(number for _, number in lines)
            file.write(_line(Line(end={"streams": streams, "events": events})))
    say(f"{shown(url)}: {streams} streams with {events} events exported" + (f", {problems} left out" * bool(problems)))
    return exits.FAILED if problems else exits.OK


async def _stream(journal: JournalView, row: Summary, done: set[str]) -> AsyncIterator[tuple[bytes, int]]:
    """Lines, each with the number of its events."""
    pages = 0
    async for page in pages_of(journal, row.stream):
        pages += 1
        names = {name.decode() for record in page for name in _BLOB.findall(record.event)}
        for name in sorted(names - done):
            done.add(name)
            async for line in _blob(journal, name):
                yield line, 0
        yield _line(_of(row, page[0].seq, page, tuple(sorted(names)))), len(page)
    if not pages and row.kind in WORKFLOWS:
        raise JournalCorrupt("it has no events")
    if not pages:
        yield _line(_of(row, 1, [], ())), 0


def _of(row: Summary, seq: int, page: list[Record], blobs: tuple[str, ...]) -> Line:
    events = b"[%b]" % b",".join(record.event for record in page)
    return Line(stream=row.stream, seq=seq, events=Raw(events), summary=row, blobs=blobs, crc=zlib.crc32(events))


async def _blob(journal: JournalView, name: str) -> AsyncIterator[bytes]:
    size = await journal.size(name)
    if size is None:  # somebody's data that only looks like a reference
        return
    offset = 0
    while True:
        piece = await journal.get(name, offset)
        yield _line(Line(blob=name, size_bytes=size, offset=offset, base64=base64.b64encode(piece).decode()))
        offset += len(piece)
        if offset >= size:
            return


def _line(line: Line) -> bytes:
    return _encode(line) + b"\n"


async def take_in(url: str, source: Path | None) -> int:
    """All or, after an error, what came before it: it can be given again, and goes on where it was."""
    streams, events, known = set[str](), 0, set[str]()
    now = int(time.time() * 1000)
    async with opened(url, new=True) as journal:
        with _reading(source) as file:
            end = None
            for number, text in enumerate(file, 1):
                line = _read(text, number)
                end = line.end
                if line.blob:
                    content = base64.b64decode(line.base64)
                    await journal.put(line.blob, line.size_bytes, line.offset, content, now)
                elif line.stream and await _append(journal, line, number):
                    streams.add(line.stream)
                    events += len(msgspec.json.decode(line.events, type=list[Raw]))
                elif line.stream:
                    known.add(line.stream)
            if end is None:
                raise JournalCorrupt("the file has no end: it was cut off, and something may be missing")
    there = f"; {len(known - streams)} were there already" if known - streams else ""
    say(f"{shown(url)}: {len(streams)} streams with {events} events imported{there}")
    return exits.OK


def _read(text: bytes, number: int) -> Line:
    try:
        line = msgspec.json.decode(text, type=Line)
    except msgspec.MsgspecError as error:
        raise JournalCorrupt(f"line {number} is no line of an export: {error}") from error
    if number == 1 and line.gleitzeit_journal != FORMAT:
        raise JournalCorrupt("this is no export of a journal, or one of a newer version")
    if line.stream and zlib.crc32(bytes(line.events)) != line.crc:
        raise JournalCorrupt(f"line {number} is damaged")
    return line


async def _append(journal: OwnedJournal, line: Line, number: int) -> bool:
    """False if the very same events are there already. Raises JournalConflict for others."""
    assert line.summary is not None
    events = tuple(bytes(event) for event in msgspec.json.decode(line.events, type=list[Raw]))
    blobs = []
    for name in line.blobs:
        try:
            await journal.get(name, 0, 1)
        except BlobNotFound:
            continue
        blobs.append(name)
    try:
        await journal.append([Append(line.stream, line.seq, events, line.summary, tuple(blobs))])
    except JournalConflict:
        there = await journal.read(line.stream, line.seq - 1, len(events))
        if [record.event for record in there] == list(events):
            return False
        raise JournalConflict(f"line {number}: {line.stream} is there already, with other events") from None
    return True


@contextmanager
def _writing(target: Path | None) -> Iterator[IO[bytes]]:
    if target is None:
        yield sys.stdout.buffer
        return
    unfinished = target.with_name(f"{target.name}.part")
    try:
        with unfinished.open("wb") as file:
            unfinished.chmod(0o600)
            yield file
        unfinished.replace(target)
    except OSError as error:
        raise ConfigurationError(f"{target} cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            unfinished.unlink()


@contextmanager
def _reading(source: Path | None) -> Iterator[IO[bytes]]:
    if source is None:
        yield sys.stdin.buffer
    else:
        with source.open("rb") as file:
            yield file

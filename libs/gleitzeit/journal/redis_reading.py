"""What is read of a journal in Redis: by who has claimed it, or by who only looks, at one moment of it."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec
from redis import asyncio as client
from redis import exceptions as refused
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gleitzeit.errors import ConfigurationError, JournalConflict, JournalCorrupt, JournalError, JournalFull
from gleitzeit.journal import blobs
from gleitzeit.journal import redis_scripts as lua
from gleitzeit.journal.base import Find, Record, Summary, Unfinished
from gleitzeit.journal.finding import first, matches, unfinished
from gleitzeit.journal.merging import all_events
from gleitzeit.journal.records import SHORT_BYTES, unpack_whole
from gleitzeit.spec.urls import not_understood, shown

T = TypeVar("T")
PAGE_BYTES = 1 << 20
_TOGETHER = 64
"""Streams whose beginnings are one question."""
DEFAULT_PREFIX = "gleitzeit:"
CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 20.0
RETRY_SECONDS = 0.2
_LOST = (refused.ConnectionError, refused.TimeoutError, OSError, TimeoutError)
encode = msgspec.msgpack.Encoder().encode
_summary = msgspec.json.Decoder(Summary).decode
_summaries = msgspec.json.Decoder(list[Summary]).decode


class RedisReading:
    """What `read`, `find` and `get` are for either."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise ConfigurationError(not_understood("the journal", url, error)) from None
        ours = dict(parse_qsl(parts.query))
        self._prefix = ours.pop("prefix", DEFAULT_PREFIX)
        self._weak = ours.pop("weak", "") in ("yes", "1", "true")
        self._server = urlunsplit(parts._replace(query=urlencode(ours)))
        self._client: client.Redis | None = None
        self._owner = ""
        self._patience_seconds = 0.0

    async def _script(self, text: str, *arguments: Any) -> Any:
        return await self._run(lambda redis, again: evaluate(redis, text, self._prefix, arguments))

    async def _run(self, work: Callable[[Any, bool], Awaitable[T]]) -> T:
        """`work` gets the client, and whether an earlier try of it may have succeeded unheard. What failed for want of
        a connection is tried again, for as long as the lease."""
        loop = asyncio.get_running_loop()
        give_up, again = loop.time() + self._patience_seconds, False
        while True:
            try:
                # Its own limit is asyncio.wait_for, which may swallow a cancellation before Python 3.12.
                async with asyncio.timeout(COMMAND_SECONDS):
                    return await work(self._connected(), again)
            except refused.AuthenticationError as error:
                raise ConfigurationError(f"the journal {shown(self.url)} cannot be used: {error}") from error
            except _LOST as error:
                again = True
                if loop.time() >= give_up:
                    why = str(error) or f"no answer within {COMMAND_SECONDS:g} s"
                    raise JournalError(f"the journal {shown(self.url)} cannot be reached: {why}") from error
                await asyncio.sleep(RETRY_SECONDS)
            except refused.RedisError as error:
                raise self._translated(error) from error

    def _connected(self) -> Any:
        if self._client is None:
            try:
                self._client = client.Redis.from_url(
                    self._server,
                    socket_connect_timeout=CONNECT_SECONDS,
                    socket_timeout=None,
                    retry=Retry(NoBackoff(), 0),
                    client_name="gleitzeit",
                )
            except ValueError as error:
                raise ConfigurationError(not_understood("the journal", self.url, error)) from None
        return self._client

    async def _disconnect(self) -> None:
        redis, self._client = self._client, None
        if redis is not None:
            await redis.aclose()

    def _translated(self, error: refused.RedisError) -> Exception:
        where, said = shown(self.url), str(error)
        if "OOM command" in said or "No space left" in said or isinstance(error, refused.OutOfMemoryError):
            return JournalFull(f"no space left for the journal {where}: {said}")
        if isinstance(error, refused.NoPermissionError):
            return ConfigurationError(f"the journal {where} cannot be used: {said}")
        return JournalError(f"the journal {where} failed: {said}")

    def _check_number(self, format_: int) -> None:
        """Raises ConfigurationError."""
        if format_ > lua.FORMAT:
            raise ConfigurationError(
                f"the journal {shown(self.url)} has format {format_}, this version of Gleitzeit reads up to"
                f" {lua.FORMAT}: upgrade Gleitzeit, or name another prefix"
            )

    def _claimed(self) -> None:
        if not self._owner:
            raise JournalError(f"the journal {shown(self.url)} is not claimed")

    async def read(self, stream: str, after: int = 0, limit: int = 10_000) -> list[Record]:
        self._claimed()
        found, end = await self._script(lua.READ, stream, after, limit, PAGE_BYTES)
        rows = [_row(*record) for record in found]
        if end > (rows[-1][0] if rows else after):
            raise JournalCorrupt(f"the stream {stream} lacks its last events: it should end at {end}")
        return await all_events(stream, rows, after, limit)

    async def find(self, query: Find) -> list[Summary]:
        self._claimed()
        head = {
            "kind": query.kind,
            "keys": query.keys,
            "statuses": query.statuses,
            "prefix": query.stream_prefix,
            "active": "" if query.active is None else str(int(query.active)),
            "limit": query.limit,
        }
        if query.before is not None:
            head["before"], head["before_name"] = query.before
        if query.after is not None:
            head["after"] = query.after
        found: list[Summary] = []
        for name in _sets(query):
            found += _summaries(await self._script(lua.FIND, encode({**head, "set": name})))
        return first(query, found)

    async def unfinished(
        self, kind: str, wanted: Callable[[str], bool], before: tuple[int, str] | None = None, limit: int = 256
    ) -> list[Unfinished]:
        found = await self.find(Find(kind, active=True, before=before, limit=limit))
        names = [row.stream for row in found if wanted(row.stream)]
        short: dict[str, list[bytes]] = {}
        for start in range(0, len(names), _TOGETHER):
            short |= await self._short(names[start : start + _TOGETHER])
        return [unfinished(row, short.get(row.stream, ())) for row in found]

    async def _short(self, streams: Sequence[str]) -> dict[str, list[bytes]]:
        lines, bodies = await self._script(lua.SHORT, SHORT_BYTES, *streams)
        found: dict[str, list[bytes]] = {}
        end = 0
        for line in lines.splitlines():
            number, last, count, crc, size_bytes = map(int, line.split())
            start, end = end, end + size_bytes
            found[streams[number]] = unpack_whole(streams[number], last, count, crc, bodies[start:end])
        return found

    async def _piece(self, name: str, offset: int, limit: int) -> bytes:
        if limit <= 0:
            return b""
        key = f"{self._prefix}c:{name}"
        piece: bytes = await self._run(lambda redis, again: redis.getrange(key, offset, offset + limit - 1))
        return piece

    async def get(self, name: str, offset: int = 0, limit: int = blobs.MAX_CHUNK_BYTES) -> bytes:
        if await self.size(name) is None:
            raise blobs.not_found(name)
        return await self._piece(name, offset, min(limit, blobs.MAX_CHUNK_BYTES))

    async def size(self, name: str) -> int | None:
        self._claimed()
        key = f"{self._prefix}b:{blobs.check_name(name)}"
        size, whole = await self._run(lambda redis, again: redis.hmget(key, "size", "whole"))
        return int(size) if whole == b"1" else None


class RedisView(RedisReading):
    """A JournalView, beside whoever works on the journal. What it has is listed at once, in one script, with where each
    stream ends; then every stream is read up to there. A stream that is deleted before its turn raises JournalConflict.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._listed: dict[str, tuple[Summary, int]] = {}

    async def open(self) -> None:
        """Raises ConfigurationError if there is no journal, or one of a newer format."""
        found = await self._run(lambda redis, again: redis.hget(f"{self._prefix}meta", "format"))
        if found is None:
            raise ConfigurationError(f"there is no journal at {shown(self.url)}")
        self._check_number(int(found))
        for summary, last in await self._run(lambda redis, again: evaluate(redis, lua.LIST, self._prefix, ())):
            row = _summary(summary)
            self._listed[row.stream] = row, int(last)
        self._owner = "a view"

    async def find(self, query: Find) -> list[Summary]:
        return first(query, (row for row, _ in self._listed.values() if matches(row, query)))

    async def read(self, stream: str, after: int = 0, limit: int = 10_000) -> list[Record]:
        _, last = self._listed[stream]
        if after >= last:
            return []
        records = await super().read(stream, after, min(limit, last - after))
        if not records:
            raise JournalConflict(f"the stream {stream} was deleted while the journal was read")
        return records

    async def close(self) -> None:
        await self._disconnect()


async def evaluate(redis: Any, text: str, prefix: str, arguments: Sequence[Any]) -> Any:
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    try:
        return await redis.evalsha(sha, 1, prefix, *arguments)
    except refused.NoScriptError:
        return await redis.eval(text, 1, prefix, *arguments)


def _row(id_: bytes, flat: list[bytes]) -> tuple[int, int, int, bytes]:
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    return int(id_.partition(b"-")[0]), int(fields[b"n"]), int(fields[b"c"]), fields[b"b"]


def _sets(query: Find) -> list[str]:
    """The sorted sets whose newest, merged, answer the query; an empty name is the list by name."""
    if query.stream_prefix or query.after is not None:
        return [""]
    if query.keys:
        return [f"k:{query.kind}\0{key}" for key in sorted(set(query.keys))]
    if query.statuses:
        return [f"t:{query.kind}\0{status}" for status in sorted(set(query.statuses))]
    return [f"{'a' if query.active else 'i'}:{query.kind}"]

"""A journal in Redis, for several coordinators: a single server whose append-only file is synced at every write."""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec
from redis import asyncio as client
from redis import exceptions as refused
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gleitzeit.errors import (
    ConfigurationError,
    JournalConflict,
    JournalCorrupt,
    JournalError,
    JournalFenced,
    JournalFull,
    JournalLocked,
)
from gleitzeit.journal import blobs
from gleitzeit.journal import redis_scripts as lua
from gleitzeit.journal.base import LEASE_SECONDS, Append, Find, Lease, Record, Summary
from gleitzeit.journal.merging import Entry, events_of, fences, merged
from gleitzeit.journal.places import shown
from gleitzeit.journal.records import unpack_short
from gleitzeit.model.shards import SHARDS

log = logging.getLogger("gz.journal")

T = TypeVar("T")
PAGE_BYTES = 8 << 20
PAGE_RECORDS = 64
DEFAULT_PREFIX = "gleitzeit:"
CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 20.0
RETRY_SECONDS = 0.2
_LOST = (refused.ConnectionError, refused.TimeoutError, OSError, TimeoutError)
_encode = msgspec.msgpack.Encoder().encode
_summary = msgspec.json.Decoder(Summary).decode
_json = msgspec.json.Encoder().encode


class RedisJournal:
    """All ports. `url` is redis:// or rediss://, with `?prefix=` for several journals in one database, and `?weak=yes`
    to accept a server that may lose what it has acknowledged, or may throw it away."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.warnings: Sequence[str] = ()
        parts = urlsplit(url)
        ours = dict(parse_qsl(parts.query))
        self._prefix = ours.pop("prefix", DEFAULT_PREFIX)
        self._weak = ours.pop("weak", "") in ("yes", "1", "true")
        self._server = urlunsplit(parts._replace(query=urlencode(ours)))
        self._client: client.Redis | None = None
        self._owner = ""
        self._held: dict[int, int] = {}
        self._patience_seconds = 0.0
        self._writing = asyncio.Lock()
        """One write at a time, in the order in which they came; a release is one."""

    # Shards

    @property
    def shards(self) -> int:
        return SHARDS

    async def claim(
        self, owner: str, shards: Collection[int] | None = None, *, url: str = "", lease_seconds: float = LEASE_SECONDS
    ) -> dict[int, int]:
        wanted = sorted(range(SHARDS) if shards is None else shards)
        try:
            if not self._owner:
                await self._look_at_the_server()
            member = "1" if self._owner else "0"
            answer = await self._script(lua.CLAIM, owner, url, round(lease_seconds * 1000), member, *wanted)
            if answer == b"fenced":
                raise self._fenced()
            taken = dict(zip(answer[::2], answer[1::2], strict=True))
            if shards is None and len(taken) < SHARDS:
                new = taken.keys() - self._held.keys()
                await self._script(lua.RELEASE, owner, "0" if self._owner else "1", *new)
                raise JournalLocked(f"the journal {shown(self.url)} is in use by another coordinator")
        except BaseException:
            if not self._owner:
                await self._disconnect()
            raise
        self._owner = owner
        self._held |= taken
        self._patience_seconds = lease_seconds
        return taken

    async def renew(self, lease_seconds: float = LEASE_SECONDS) -> None:
        self._claimed()
        if not await self._script(lua.RENEW, self._owner, round(lease_seconds * 1000)):
            raise self._fenced()

    async def release(self, shards: Collection[int] | None = None) -> None:
        if not self._owner:
            return
        async with self._writing:
            gone = sorted(self._held if shards is None else shards)
            await self._script(lua.RELEASE, self._owner, "1" if shards is None else "0", *gone)
            for shard in gone:
                self._held.pop(shard, None)
        if shards is None:
            self._owner = ""
            await self._disconnect()

    async def close(self) -> None:
        self._patience_seconds = 0.0
        try:
            await self.release()
        except JournalError as error:
            log.warning("the shards were not released, others take them when the lease has run out: %s", error)
            self._owner = ""
        await self._disconnect()

    async def owners(self) -> list[Lease]:
        self._claimed()
        leases = [
            Lease(name.decode(), url.decode(), dict(zip(rest[::2], rest[1::2], strict=True)))
            for name, url, *rest in await self._script(lua.OWNERS)
        ]
        return sorted(leases, key=lambda lease: lease.owner)

    # The server

    async def _look_at_the_server(self) -> None:
        """Raises ConfigurationError for one that may lose what it acknowledges, unless that was asked for."""
        await self._check_format()
        complaints = await self._run(_complaints)
        if complaints and not self._weak:
            raise ConfigurationError(
                f"the journal {shown(self.url)} would not be safe: {'; '.join(complaints)}. Change the server"
                " (CONFIG SET appendonly yes, appendfsync always, maxmemory-policy noeviction), or accept the loss with"
                " ?weak=yes"
            )
        self.warnings = [f"the journal may lose what it acknowledged: {complaint}" for complaint in complaints]

    async def _check_format(self) -> None:
        key = f"{self._prefix}meta"

        async def work(redis: Any, again: bool) -> int:
            await redis.hsetnx(key, "format", lua.FORMAT)
            return int(await redis.hget(key, "format"))

        found = await self._run(work)
        if found > lua.FORMAT:
            raise ConfigurationError(
                f"the journal {shown(self.url)} has format {found}, this version of Gleitzeit reads up to {lua.FORMAT}:"
                " upgrade Gleitzeit, or name another prefix"
            )

    async def _script(self, text: str, *arguments: Any) -> Any:
        return await self._run(lambda redis, again: _evaluate(redis, text, self._prefix, arguments))

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
                raise ConfigurationError(f"the journal {shown(self.url)} cannot be used: {error}") from error
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

    def _claimed(self) -> None:
        if not self._owner:
            raise JournalError(f"the journal {shown(self.url)} is not claimed")

    def _fenced(self) -> JournalFenced:
        return JournalFenced(f"another coordinator has taken over from {self._owner}")

    def _fence(self, streams: Sequence[str]) -> dict[str, Any]:
        self._claimed()
        needed, anybodys = fences(streams, SHARDS, self._held)
        expected = [(str(shard), f"{epoch} {self._owner}") for shard, epoch in needed.items()]
        return {"owner": self._owner, "fences": expected, "anybodys": anybodys}

    # Journal

    async def append(self, commit: Sequence[Append]) -> None:
        entries = merged(commit, SHARDS)
        head = self._fence([entry.stream for entry in entries])
        if not entries:
            return
        arguments = [_encode({**head, "entries": [_entry(entry) for entry in entries]})]
        for entry in entries:
            arguments.append(_json(entry.summary))
            for _, last, count, crc, body in entry.records:
                arguments += [b"%d" % last, b"%d" % count, b"%d" % crc, body]

        async def work(redis: Any, again: bool) -> None:
            verdict = await _evaluate(redis, lua.APPEND, self._prefix, arguments)
            if verdict == b"fenced":
                raise self._fenced()
            if verdict != b"ok" and not (again and await self._landed(redis, entries)):
                raise JournalConflict(verdict.decode())

        async with self._writing:
            await self._run(work)

    async def _landed(self, redis: Any, entries: list[Entry]) -> bool:
        """Whether this very commit is what the streams end with: its answer was lost with the connection."""
        written = [(entry.stream, entry.records[-1]) for entry in entries if entry.records]
        for stream, (_, last, _, crc, _) in written:
            rows = await redis.xrange(f"{self._prefix}e:{stream}", f"{last}-0", f"{last}-0")
            if not rows or int(rows[0][1][b"c"]) != crc:
                return False
        return bool(written)

    async def read(self, stream: str, after: int = 0, limit: int = 10_000) -> list[Record]:
        self._claimed()
        return events_of(stream, await self._rows(stream, after, limit), after, limit)

    async def read_short(self, streams: Sequence[str]) -> dict[str, list[Record]]:
        self._claimed()
        answers = await self._run(partial(_beginnings, self._prefix, streams))
        rows = []
        for stream, last, page in zip(streams, answers[::2], answers[1::2], strict=True):
            for id_, fields in page:
                if id_ == b"%b-0" % (last or b""):
                    rows.append((stream, int(last), int(fields[b"n"]), int(fields[b"c"]), fields[b"b"]))
        return unpack_short(rows)

    async def _rows(self, stream: str, after: int, limit: int) -> list[tuple[int, int, int, bytes]]:
        rows: list[tuple[int, int, int, bytes]] = []
        size_bytes, at = 0, after + 1
        while size_bytes < PAGE_BYTES and at <= after + limit:
            count = min(limit, PAGE_RECORDS)
            page = await self._run(partial(_range, f"{self._prefix}e:{stream}", at, count))
            for id_, fields in page:
                last = int(id_.partition(b"-")[0])
                rows.append((last, int(fields[b"n"]), int(fields[b"c"]), fields[b"b"]))
                size_bytes += len(fields[b"b"])
                at = last + 1
            if len(page) < count:
                await self._check_end(stream, at - 1)
                break
        return rows

    async def _check_end(self, stream: str, end: int) -> None:
        last = await self._run(lambda redis, again: redis.hget(f"{self._prefix}s:{stream}", "last"))
        if int(last or 0) > end and not await self._run(
            lambda redis, again: redis.xrange(f"{self._prefix}e:{stream}", f"{end + 1}-0", "+", count=1)
        ):
            raise JournalCorrupt(f"the stream {stream} lacks its last events: it should end at {int(last)}")

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
        found: list[Summary] = []
        for name in _sets(query):
            rows = await self._script(lua.FIND, _encode({**head, "set": name}))
            found += [_summary(row) for row in rows]
        found.sort(key=lambda summary: (summary.created_at, summary.stream), reverse=True)
        return found[: query.limit]

    async def delete(self, streams: Sequence[str]) -> None:
        head = self._fence(streams)
        if streams:
            async with self._writing:
                verdict = await self._script(lua.DELETE, _encode({**head, "streams": list(streams)}))
            if verdict == b"fenced":
                raise self._fenced()

    # Blobs

    async def put(self, name: str, size_bytes: int, offset: int, chunk: bytes, now: int) -> int:
        self._claimed()
        blobs.check_put(name, size_bytes, offset, chunk)
        answer = await self._script(lua.PUT, name, size_bytes, offset, now, chunk)
        if isinstance(answer, int):
            blobs.check_size(name, answer, size_bytes)
        present, whole = answer
        if present == size_bytes and not whole:
            digest = await self._digest(name, size_bytes)
            await self._script(lua.COMPLETE, name, int(name == f"sha256:{digest}"))
            blobs.check_content(name, digest)
        return int(present)

    async def _digest(self, name: str, size_bytes: int) -> str:
        digest = hashlib.sha256()
        for offset in range(0, size_bytes, blobs.MAX_CHUNK_BYTES):
            digest.update(await self._piece(name, offset, blobs.MAX_CHUNK_BYTES))
        return digest.hexdigest()

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

    async def sweep(self, unused_since: int) -> int:
        self._claimed()
        return int(await self._script(lua.SWEEP, unused_since))


async def _evaluate(redis: Any, text: str, prefix: str, arguments: Sequence[Any]) -> Any:
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    try:
        return await redis.evalsha(sha, 1, prefix, *arguments)
    except refused.NoScriptError:
        return await redis.eval(text, 1, prefix, *arguments)


async def _range(key: str, at: int, count: int, redis: Any, again: bool) -> list[tuple[bytes, dict[bytes, bytes]]]:
    rows: list[tuple[bytes, dict[bytes, bytes]]] = await redis.xrange(key, f"{at}-0", "+", count=count)
    return rows


async def _beginnings(prefix: str, streams: Sequence[str], redis: Any, again: bool) -> list[Any]:
    """For each of the streams the number of its last event, and its first record."""
    pipeline = redis.pipeline(transaction=False)
    for stream in streams:
        pipeline.hget(f"{prefix}s:{stream}", "last")
        pipeline.xrange(f"{prefix}e:{stream}", count=1)
    answers: list[Any] = await pipeline.execute()
    return answers


async def _complaints(redis: Any, again: bool) -> list[str]:
    """Why what this server acknowledges may be lost."""
    try:
        settings = {k: v for k, v in (await redis.config_get("append*")).items()}
        settings |= await redis.config_get("maxmemory*")
    except refused.ResponseError as error:
        return [f"whether it syncs every write cannot be seen ({error})"]
    found = {_text(name): _text(value) for name, value in settings.items()}
    complaints = []
    if found.get("appendonly") != "yes":
        complaints.append("appendonly is off: a restart loses everything since the last snapshot")
    elif found.get("appendfsync") != "always":
        complaints.append(f"appendfsync is {found.get('appendfsync')}: a power cut loses the last seconds")
    if found.get("maxmemory", "0") != "0" and found.get("maxmemory-policy") != "noeviction":
        complaints.append(f"maxmemory-policy is {found.get('maxmemory-policy')}: a full server throws streams away")
    if _text((await redis.info("replication")).get("role", "master")) != "master":
        complaints.append("it is a replica")
    return complaints


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _entry(entry: Entry) -> dict[str, Any]:
    summary = entry.summary
    return {
        "stream": entry.stream,
        "seq": entry.seq,
        "last": str(entry.last),
        "kind": summary.kind,
        "key": summary.key,
        "status": summary.status,
        "active": str(int(summary.active)),
        "created": str(summary.created_at),
        "records": len(entry.records),
        "blobs": entry.blobs,
    }


def _sets(query: Find) -> list[str]:
    """The sorted sets whose newest, merged, answer the query; an empty name is the list by name."""
    if query.stream_prefix:
        return [""]
    if query.keys:
        return [f"k:{query.kind}\0{key}" for key in sorted(set(query.keys))]
    if query.statuses:
        return [f"t:{query.kind}\0{status}" for status in sorted(set(query.statuses))]
    return [f"{'a' if query.active else 'i'}:{query.kind}"]

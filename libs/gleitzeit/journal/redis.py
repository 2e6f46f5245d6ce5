"""A journal in Redis, for several coordinators: a single server whose append-only file is synced at every write."""

import asyncio
import hashlib
import logging
from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from redis import exceptions as refused

from gleitzeit.errors import (
    ConfigurationError,
    JournalConflict,
    JournalError,
    JournalFenced,
    JournalLocked,
)
from gleitzeit.journal import blobs
from gleitzeit.journal import redis_scripts as lua
from gleitzeit.journal.base import LEASE_SECONDS, Append, Lease
from gleitzeit.journal.merging import Entry, all_merged, fences
from gleitzeit.journal.redis_reading import RedisReading, encode, evaluate
from gleitzeit.model.shards import SHARDS
from gleitzeit.spec.urls import shown

log = logging.getLogger("gz.journal")

_json = msgspec.json.Encoder().encode


class RedisJournal(RedisReading):
    """All ports. `url` is redis:// or rediss://, with `?prefix=` for several journals in one database, and `?weak=yes`
    to accept a server that may lose what it has acknowledged, or may throw it away."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.warnings: Sequence[str] = ()
        self._held: dict[int, int] = {}
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
        self._check_number(found)
        if found < lua.FORMAT:
            await self._run(lambda redis, again: redis.hset(key, "format", lua.FORMAT))

    def _fenced(self) -> JournalFenced:
        return JournalFenced(f"another coordinator has taken over from {self._owner}")

    def _fence(self, streams: Sequence[str]) -> dict[str, Any]:
        self._claimed()
        needed, anybodys = fences(streams, SHARDS, self._held)
        expected = [(str(shard), f"{epoch} {self._owner}") for shard, epoch in needed.items()]
        return {"owner": self._owner, "fences": expected, "anybodys": anybodys}

    # Journal

    async def append(self, commit: Sequence[Append]) -> None:
        head = self._fence([append.stream for append in commit])
        if commit:
            async with self._writing:
                await self._append(head, await all_merged(commit, SHARDS))

    async def _append(self, head: dict[str, Any], entries: list[Entry]) -> None:
        arguments = [encode({**head, "entries": [_entry(entry) for entry in entries]})]
        for entry in entries:
            arguments.append(_json(entry.summary))
            for _, last, count, crc, body in entry.records:
                arguments += [b"%d" % last, b"%d" % count, b"%d" % crc, body]

        async def work(redis: Any, again: bool) -> None:
            verdict = await evaluate(redis, lua.APPEND, self._prefix, arguments)
            if verdict == b"fenced":
                raise self._fenced()
            if verdict != b"ok" and not (again and await self._landed(redis, entries)):
                raise JournalConflict(verdict.decode())

        await self._run(work)

    async def _landed(self, redis: Any, entries: list[Entry]) -> bool:
        """Whether this very commit is what the streams end with: its answer was lost with the connection."""
        written = [(entry.stream, entry.records[-1]) for entry in entries if entry.records]
        for stream, (_, last, _, crc, _) in written:
            rows = await redis.xrange(f"{self._prefix}e:{stream}", f"{last}-0", f"{last}-0")
            if not rows or int(rows[0][1][b"c"]) != crc:
                return False
        return bool(written)

    async def delete(self, streams: Sequence[str]) -> None:
        head = self._fence(streams)
        if streams:
            async with self._writing:
                verdict = await self._script(lua.DELETE, encode({**head, "streams": list(streams)}))
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

    async def sweep(self, unused_since: int) -> int:
        self._claimed()
        return int(await self._script(lua.SWEEP, unused_since))


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

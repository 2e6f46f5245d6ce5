"""A journal in one SQLite file: for one machine, the default.

There is one connection, and one thread for it. The event loop hands it appends and other calls through a queue and is
told by `call_soon_threadsafe`; appends that wait together become one transaction with one fsync. Where that would be
the greater part of the time, the loop makes a small commit itself: the thread has nothing to do, and the disk is quick.
"""

import asyncio
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct

from gleitzeit.errors import ConfigurationError, GleitzeitError, JournalError, JournalReplaced
from gleitzeit.journal import blobs
from gleitzeit.journal.base import LEASE_SECONDS, Append, Find, Lease, Record, Summary, Unfinished
from gleitzeit.journal.blobs import Piece
from gleitzeit.journal.database import Database
from gleitzeit.journal.lock import FileLock
from gleitzeit.journal.records import SQUEEZED_BYTES, Packed, packed, size_of

MOST_PUTS = 32
"""Pieces of blobs in one transaction."""
RESERVE_BYTES = 256 << 10
"""Of the disk, for what is under way already: while less is free, nothing new should be begun."""
IDLE_SECONDS = 0.05
"""After which there is time for what makes later commits faster."""
LOOK_SECONDS = 1.0
"""So often the thread looks, when nothing is to be done, whether the file is still there."""
QUICK_SECONDS = 0.002
"""While commits take no longer, the loop makes small ones itself, for half of its time at most."""
FEW_STREAMS = 4
FEW_BYTES = 32 << 10
"""In a small commit."""
_T = TypeVar("_T")


class SqliteJournal:
    """All ports. Belongs to the event loop that claimed it.

    The file is private to its user; `<file>.lock` holds the process id of its owner. `max_bytes` bounds the file.
    """

    def __init__(self, path: Path, *, max_bytes: int | None = None) -> None:
        self._path = path.absolute()
        self._folder = str(self._path.parent)
        self.url = f"sqlite://{self._path}"
        self._max_bytes = max_bytes
        self.on_replaced: Callable[[JournalReplaced], None] = lambda error: None
        """Hears, once, that the file was taken away while nothing was written to it."""
        self._lock: FileLock | None = None
        self._thread: _Thread | None = None
        self._packing = asyncio.Lock()
        """One large commit after the other is made ready."""
        self._lease: Lease

    @property
    def shards(self) -> int:
        return 1

    @property
    def warnings(self) -> Sequence[str]:
        return ()

    def no_space(self) -> str:
        """Why nothing new should be begun; empty if there is space."""
        try:
            disk = os.statvfs(self._folder)
        except OSError:  # the next write says more
            return ""
        blocks = disk.f_bavail if os.geteuid() else disk.f_bfree
        return f"the journal is full: no space left for {self._path}" if blocks * disk.f_frsize < RESERVE_BYTES else ""

    async def claim(
        self, owner: str, shards: Collection[int] | None = None, *, url: str = "", lease_seconds: float = LEASE_SECONDS
    ) -> dict[int, int]:
        """The lock of the file is the lease: it lasts as long as the process."""
        lock = _lock(self._path)
        thread = _Thread(asyncio.get_running_loop(), self._path.name, lambda error: self.on_replaced(error))
        try:
            epoch: int = await thread.call(lambda: thread.open(self._path, self._max_bytes, owner))
        except BaseException:
            await thread.stop()
            lock.release()
            raise
        self._lock, self._thread = lock, thread
        self._lease = Lease(owner, url, {0: epoch})
        return {0: epoch}

    async def renew(self, lease_seconds: float = LEASE_SECONDS) -> None:
        self._owned()

    async def release(self, shards: Collection[int] | None = None) -> None:
        if shards is not None and 0 not in shards:
            return
        async with self._packing:
            thread, self._thread = self._thread, None
        lock, self._lock = self._lock, None
        if thread is not None:
            await thread.stop()
        if lock is not None:
            lock.release()

    async def owners(self) -> list[Lease]:
        return [self._lease] if self._thread is not None else []

    async def close(self) -> None:
        await self.release()

    async def append(self, commit: Sequence[Append]) -> None:
        self._owned()
        if size_of(commit) < SQUEEZED_BYTES:
            done = self._owned().append(packed(commit))
        else:  # beside the loop, and a release waits for it
            async with self._packing:
                rows = await asyncio.to_thread(packed, commit)
                done = self._owned().append(rows)
        await done

    async def read(self, stream: str, after: int = 0, limit: int = 10_000) -> list[Record]:
        thread = self._owned()
        return await thread.call(lambda: thread.database.read(stream, after, limit))

    async def find(self, query: Find) -> list[Summary]:
        thread = self._owned()
        return await thread.call(lambda: thread.database.find(query))

    async def unfinished(
        self, kind: str, wanted: Callable[[str], bool], before: tuple[int, str] | None = None, limit: int = 256
    ) -> list[Unfinished]:
        thread = self._owned()
        return await thread.call(lambda: thread.database.unfinished(kind, before, limit))

    async def delete(self, streams: Sequence[str]) -> None:
        thread = self._owned()
        await thread.delete(streams)

    async def put(self, name: str, size_bytes: int, offset: int, chunk: bytes, now: int) -> int:
        thread = self._owned()
        blobs.check_put(name, size_bytes, offset, chunk)
        return await thread.put((name, size_bytes, offset, chunk, now))

    async def get(self, name: str, offset: int = 0, limit: int = blobs.MAX_CHUNK_BYTES) -> bytes:
        thread = self._owned()
        blobs.check_name(name)
        return await thread.call(lambda: thread.database.get(name, offset, min(limit, blobs.MAX_CHUNK_BYTES)))

    async def size(self, name: str) -> int | None:
        thread = self._owned()
        blobs.check_name(name)
        return await thread.call(lambda: thread.database.size(name))

    async def sweep(self, unused_since: int) -> int:
        thread = self._owned()
        return await thread.call(lambda: thread.database.sweep(unused_since))

    @property
    def path(self) -> Path:
        return self._path

    async def keep(self, kept: Callable[[], bool]) -> None:
        """As SqliteFile.keep; `kept` is asked when it is done."""
        thread = self._owned()
        await thread.call(lambda: thread.database.file.keep(kept()))

    def _owned(self) -> "_Thread":
        if self._thread is None:
            raise JournalError(f"the journal {self._path} is not claimed")
        return self._thread


def _lock(path: Path) -> FileLock:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return FileLock(path.with_name(path.name + ".lock"), f"the journal {path}")
    except OSError as error:
        raise ConfigurationError(f"the journal {path} cannot be made: {error.strerror}") from error


def _is_small(rows: Sequence[Packed]) -> bool:
    return len(rows) <= FEW_STREAMS and sum(len(body) for row in rows for *_, body in row.records) <= FEW_BYTES


class _Commit(Struct, frozen=True):
    rows: list[Packed]
    done: asyncio.Future[Any]


class _Call(Struct, frozen=True):
    function: Callable[[], Any]
    done: asyncio.Future[Any]


class _Put(Struct, frozen=True):
    piece: Piece
    done: asyncio.Future[Any]


_Outcome = tuple["asyncio.Future[Any]", Any, Exception | None]


def _outcome(call: _Call) -> _Outcome:
    try:
        return call.done, call.function(), None
    except Exception as error:  # noqa: BLE001 - who called gets it; a read with an argument that is wrong ends no journal
        return call.done, None, error


def _outcomes(database: Database, puts: list[_Put]) -> list[_Outcome]:
    try:
        found = database.put_all([put.piece for put in puts])
    except GleitzeitError as error:
        return [(put.done, None, error) for put in puts]
    return [
        (put.done, None, one) if isinstance(one, GleitzeitError) else (put.done, one, None)
        for put, one in zip(puts, found, strict=True)
    ]


def _settle(outcomes: Sequence[_Outcome]) -> None:
    for done, result, error in outcomes:
        if done.done():  # its waiter was cancelled
            continue
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)


class _Thread:
    """Touches the file, and lets the loop do so while it has nothing to do itself. Futures are the loop's: it settles
    them, once for each transaction.

    Appends go first; between two transactions one other call gets its turn, so that neither starves, or as many pieces
    of blobs as wait side by side.
    """

    database: Database
    _grows = False
    """Whether the log of the file is to be made larger when there is time."""
    _forgets = False
    """Whether something may be left of streams that were deleted."""
    _looks = True
    """Whether to look if the file is there."""
    _handed = 0
    """Items of which the loop has not heard yet that they are done."""
    _took_seconds = float("inf")
    """The last commit, …"""
    _committed_at = 0.0
    """… and when it was made."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, name: str, on_replaced: Callable[[JournalReplaced], None]
    ) -> None:
        self._loop = loop
        self._on_replaced = on_replaced
        self._queue: queue.SimpleQueue[_Commit | _Call | _Put | None] = queue.SimpleQueue()
        self._chores = threading.Lock()
        """Held by who touches the file while nothing is handed over."""
        self._ended = loop.create_future()
        self._thread = threading.Thread(target=self._run, name=f"journal {name}", daemon=True)
        self._thread.start()

    def open(self, path: Path, max_bytes: int | None, owner: str) -> int:
        self.database = Database(path, max_bytes)
        self._grows = self._forgets = True
        return self.database.claim(owner)

    def append(self, rows: list[Packed]) -> "asyncio.Future[None]":
        done: asyncio.Future[None] = self._loop.create_future()
        if _is_small(rows) and self._is_quick() and self._chores.acquire(blocking=False):
            try:
                [error] = self._commit([rows])
            finally:
                self._chores.release()
            _settle([(done, None, error)])
        else:
            self._put(_Commit(rows, done))
        return done

    def _is_quick(self) -> bool:
        """Whether it takes the loop no longer to commit than to hand that to the thread. Between commits it is to have
        at least as much time for others: what follows so closely is better gathered while the thread writes."""
        if self._handed or self._took_seconds > QUICK_SECONDS or self._ended.done():
            return False
        return time.perf_counter() - self._committed_at >= self._took_seconds

    def _commit(self, group: list[list[Packed]]) -> list[JournalError | None]:
        began = time.perf_counter()
        errors = self.database.commit(group)
        self._committed_at = time.perf_counter()
        self._took_seconds = self._committed_at - began
        return errors

    def call(self, function: Callable[[], _T]) -> "asyncio.Future[_T]":
        done: asyncio.Future[_T] = self._loop.create_future()
        self._put(_Call(function, done))
        return done

    def delete(self, streams: Sequence[str]) -> "asyncio.Future[None]":
        def work() -> None:
            self.database.delete(streams)
            self._forgets = True

        return self.call(work)

    def put(self, piece: Piece) -> "asyncio.Future[int]":
        done: asyncio.Future[int] = self._loop.create_future()
        self._put(_Put(piece, done))
        return done

    def _put(self, item: _Commit | _Call | _Put) -> None:
        if self._ended.done():
            raise JournalError("the journal's thread has died")
        self._handed += 1
        self._queue.put(item)

    async def stop(self) -> None:
        """Do what is queued, close the file, end. Only once, and nothing may be queued after it."""
        self._queue.put(None)
        await asyncio.shield(self._ended)

    def _run(self) -> None:
        commits: list[_Commit] = []
        calls: deque[_Call | _Put] = deque()
        try:
            goes_on = True
            while goes_on or calls:
                goes_on = goes_on and self._take(commits, calls)
                if commits:
                    errors = self._commit([commit.rows for commit in commits])
                    self._tell([(commit.done, None, error) for commit, error in zip(commits, errors, strict=True)])
                    commits.clear()
                if calls:
                    self._tell(self._next(calls))
                elif self._forgets and goes_on:
                    self._forget_some()
        finally:
            # Items are left over only if the thread dies of an error of ours, whose traceback threading then prints.
            if hasattr(self, "database"):
                self.database.close()
            self._on_loop(self._end, [*commits, *calls])

    def _next(self, calls: "deque[_Call | _Put]") -> list[_Outcome]:
        """Do the first call, or the pieces of blobs that stand before the next call."""
        puts: list[_Put] = []
        while calls and isinstance(put := calls[0], _Put) and len(puts) < MOST_PUTS:
            puts.append(put)
            calls.popleft()
        if puts:
            return _outcomes(self.database, puts)
        call = calls.popleft()
        assert isinstance(call, _Call)
        return [_outcome(call)]

    def _forget_some(self) -> None:
        """Between two transactions of others, also when there are always some. What cannot be now can at the next
        delete, or start; what is wrong then, a commit will say."""
        try:
            with self._chores:
                self._forgets = self.database.forget_some()
        except JournalError:
            self._forgets = False

    def _take(self, commits: list[_Commit], calls: "deque[_Call | _Put]") -> bool:
        """Wait unless there are calls to do; then take all that is there. False if nothing more will come."""
        item = None
        try:
            waits = not calls and not self._forgets
            item = self._queue.get(waits, IDLE_SECONDS if self._grows else LOOK_SECONDS)
            while item is not None:
                if isinstance(item, _Commit):
                    commits.append(item)
                else:
                    calls.append(item)
                item = self._queue.get_nowait()
        except queue.Empty:
            if not self._forgets and not commits and not calls and hasattr(self, "database"):
                with self._chores:
                    self._idle()
            return True
        return False

    def _idle(self) -> None:
        try:
            if self._grows:
                self._grows = self.database.file.grow_wal()
            elif self._looks:
                self.database.file.check_presence()
        except JournalReplaced as error:
            self._grows = self._looks = False
            self._on_loop(self._on_replaced, error)

    def _tell(self, outcomes: list[_Outcome]) -> None:
        self._on_loop(self._told, outcomes)

    def _told(self, outcomes: list[_Outcome]) -> None:
        self._handed -= len(outcomes)
        _settle(outcomes)

    def _on_loop(self, function: Callable[[Any], None], argument: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(function, argument)

    def _end(self, left: "list[_Commit | _Call | _Put]") -> None:
        """On the loop, as all that is queued comes from there: nothing can be queued after this unseen."""
        self._ended.set_result(None)
        with suppress(queue.Empty):
            while (item := self._queue.get_nowait()) is not None:
                left.append(item)
        _settle([(item.done, None, JournalError("the journal's thread has died")) for item in left])

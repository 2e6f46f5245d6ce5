"""Looks into blobs. What is large is read in a process of its own, where its content comes in pieces: it is never in
the memory of this one, and nobody waits for the reading."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from gleitzeit.engine import inputs as inp
from gleitzeit.errors import BlobNotFound, GleitzeitError
from gleitzeit.journal.base import Blobs
from gleitzeit.model.blobs import Look, value_of
from gleitzeit.spec.references.looks import as_found, inside, too_many, too_much, unreadable, whole
from gleitzeit.spec.references.paths import Missing, Unread
from gz_coordinator.aside import Aside
from gz_coordinator.blobs.pieces import READ_BYTES, load
from gz_coordinator.performer import KeepBlobs
from gz_coordinator.steps import last_of

T = TypeVar("T")
SMALL_BYTES = 1 << 20
"""Read here, at once."""
IDLE_SECONDS = 30.0
"""Until the process ends that nobody asks any more, with all that it has in memory."""
STEP = 2_000
KEPT = 2
"""Contents in the other process."""


class BlobLooks:
    def __init__(self, blobs: Blobs, keep: KeepBlobs) -> None:
        self._blobs = blobs
        self._keep = keep
        self._aside = Aside("looks into large values")
        self._turn = asyncio.Lock()
        self._ending: asyncio.TimerHandle | None = None

    async def into(self, look: Look) -> inp.LookedInto:
        try:
            size_bytes = await self._blobs.size(look.name)
            if size_bytes is None:
                raise BlobNotFound(f"the value {look.name} cannot be read: no blob {look.name}")
            if size_bytes <= SMALL_BYTES:
                return await self._here(look)
            if look.path is None:
                return await self._whole(look, size_bytes)
            return await self._found(look, await self._elsewhere(_look, look, size_bytes), size_bytes)
        except GleitzeitError as error:
            return inp.LookedInto(look, problem=error)

    async def _here(self, look: Look) -> inp.LookedInto:
        content = await load(self._blobs, look.name)
        if look.path is None:
            return inp.LookedInto(look, whole(content, look), len(content))
        return await self._found(look, inside(Unread(Raw(content)), look), len(content))

    async def _found(self, look: Look, found: bytes | Missing, size_bytes: int) -> inp.LookedInto:
        if isinstance(found, Missing):
            return inp.LookedInto(look, found)
        value, new = as_found(look, found, size_bytes)
        if new:
            assert isinstance(value, dict)
            await self._keep({value["$blob"]: new})
            found = b""
        return inp.LookedInto(look, value, len(found))

    async def _whole(self, look: Look, size_bytes: int) -> inp.LookedInto:
        """Made here, as it is of use here only, but in steps."""
        if not look.form and await self._elsewhere(_is_too_much, look, size_bytes):
            raise too_much(look)
        content = await load(self._blobs, look.name)
        try:
            value = value_of({"as": look.form}, content) if look.form else await last_of(_decoded(content))
        except msgspec.MsgspecError as error:
            raise unreadable(look, error) from None
        return inp.LookedInto(look, value, size_bytes)

    async def _elsewhere(self, function: Callable[[Look], T], look: Look, size_bytes: int) -> T:
        """What `function` says of it, in the other process, which has the content then."""
        async with self._turn:
            if self._ending is not None:
                self._ending.cancel()
            try:
                if not await self._aside.run(_has, look.name):
                    for offset in range(0, size_bytes, READ_BYTES):
                        chunk = await self._blobs.get(look.name, offset, READ_BYTES)
                        await self._aside.run(_take, look.name, offset, chunk, size_bytes)
                return await self._aside.run(function, look)
            finally:
                self._ending = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._aside.close)

    def close(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
        self._aside.close()


def _decoded(content: bytes) -> Iterator[object]:
    """The value, in the end."""
    level: Any = Unread(Raw(content)).level()
    yield level
    if isinstance(level, dict | list):
        keys = list(level) if isinstance(level, dict) else range(len(level))
        for start in range(0, len(keys), STEP):
            for key in keys[start : start + STEP]:
                level[key] = _member(level[key])
            yield level


def _member(member: Raw | Unread) -> object:
    return msgspec.json.decode(member.raw if isinstance(member, Unread) else member)


# In the other process

_incoming: dict[str, bytearray] = {}
_contents: OrderedDict[str, Unread] = OrderedDict()


def _has(name: str) -> bool:
    return name in _contents


def _take(name: str, offset: int, chunk: bytes, size_bytes: int) -> None:
    if offset == 0:
        _incoming.clear()  # what was left half done
        _incoming[name] = bytearray()
    _incoming[name] += chunk
    if len(_incoming[name]) == size_bytes:
        _contents[name] = Unread(Raw(_incoming.pop(name)))
        while len(_contents) > KEPT:
            _contents.popitem(last=False)


def _look(look: Look) -> bytes | Missing:
    _contents.move_to_end(look.name)
    return inside(_contents[look.name], look)


def _is_too_much(look: Look) -> bool:
    return too_many(bytes(_contents[look.name].raw))

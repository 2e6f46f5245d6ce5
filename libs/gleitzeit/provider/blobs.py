"""Large values at a provider: fetched before a method runs, brought before its result is told.

By a connection that the coordinator opens for that (`blob.serve`), so that nothing small waits behind them and a
provider need not know how to reach anybody.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import msgspec

from gleitzeit.errors import ConnectionLost, ResultInvalid
from gleitzeit.model.blobs import KEY, references_in, replaced, split, value_of
from gleitzeit.provider.calls import Fence
from gleitzeit.transport import Connection
from gleitzeit.transport.blobs import bring, fetch

PATIENCE_SECONDS = 60.0
"""With a coordinator that has no such connection at the moment: it may be starting again."""

ASIDE_BYTES = 4 << 20
"""What is larger is looked through beside the loop."""

OWNER = "blobs.owner"
"""Of a connection's data: whose large values its messages speak of, where they may speak of some."""

_T = TypeVar("_T")
Owner = tuple[str, str]
WhoNow = Callable[[], Owner | None]
"""Whom to ask at the moment; None while nobody has the call, which ends with its lease."""


def owner_of(fence: Fence) -> Owner:
    """Whose values they are: a coordinator, over all its shards."""
    return fence.cluster, fence.owner


class BlobConnections:
    def __init__(self) -> None:
        self._connections: dict[Owner, Connection] = {}
        self._changed = asyncio.Event()

    def serve(self, owner: Owner, connection: Connection) -> None:
        """From now on `owner` is asked by this connection."""
        self._connections[owner] = connection
        self.stir()

    def stir(self) -> None:
        """A call may be another coordinator's now."""
        self._changed.set()
        self._changed = asyncio.Event()

    def lose(self, connection: Connection | None) -> None:
        for owner in [owner for owner, known in self._connections.items() if known is connection]:
            del self._connections[owner]

    async def resolved(self, owner: WhoNow, value: Any) -> Any:
        """`value` with what its blobs hold. Raises BlobNotFound, and ConnectionLost when patience is at an end."""
        contents: dict[str, bytes] = {}
        for blob in references_in(value):
            if blob[KEY] not in contents:
                contents[blob[KEY]] = await self._by(owner, partial(fetch, blob=blob))
        try:
            return replaced(value, lambda blob: value_of(blob, contents[blob[KEY]]))
        except msgspec.MsgspecError as error:
            raise ResultInvalid(f"a large value in the params is no JSON: {error}") from None

    async def divided(self, owner: Owner, encoded: bytes) -> bytes:
        """A result in which blobs stand for what is large, once they are at the coordinator. Raises as `resolved`."""
        # Of 50 MB it takes a tenth of a second and more, in which other calls here have their answers.
        small, blobs = split(encoded) if len(encoded) < ASIDE_BYTES else await asyncio.to_thread(split, encoded)
        for name, content in blobs.items():
            await self._by(lambda: owner, partial(bring, content=content, name=name))
        return small

    async def _by(self, owner: WhoNow, work: Callable[[Connection], Awaitable[_T]]) -> _T:
        """Over a connection that is lost too: it begins again with the next one."""
        now = asyncio.get_running_loop().time
        before, deadline = None, 0.0
        while True:
            who = owner()
            connection = self._connections.get(who) if who is not None else None
            if connection is not None:
                try:
                    return await work(connection)
                except ConnectionLost:
                    self.lose(connection)
                    continue
            if who != before:
                before, deadline = who, now() + PATIENCE_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline if who is not None else None):
                    await self._changed.wait()
            if who is not None and who == owner() and now() >= deadline and who not in self._connections:
                raise ConnectionLost("the coordinator fetches and brings no large values")

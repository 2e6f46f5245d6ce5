"""Large values at a client: read where a reference stands for one, by a second connection, which is opened for that."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any, Protocol

from gleitzeit.model.blobs import CHUNK_BYTES, KEY, reference, references_in, replaced, value_of
from gleitzeit.transport import Connection
from gleitzeit.transport.blobs import bring, fetch

AT_ONCE = 32
LARGE_AT_ONCE = 3
"""Contents on their way, and those of them that are larger than a message: their sum is in memory."""


class Contents(Protocol):
    """What is to be brought: the names of blobs with their sizes, and how one is read. `process.folders` has them."""

    sizes_bytes: dict[str, int]

    def read(self, name: str) -> bytes: ...


class BlobChannel:
    """Large values on a connection of their own, opened with the first of them: no message waits behind one."""

    def __init__(self, open_connection: Callable[[], Awaitable[Connection]]) -> None:
        self._open = open_connection
        self._connection: Connection | None = None
        self._opening = asyncio.Lock()

    async def connection(self) -> Connection:
        async with self._opening:
            if self._connection is None or self._connection.closed:
                self._connection = await self._open()
            return self._connection

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def put(self, content: bytes, form: str = "") -> dict[str, Any]:
        """Bring it; what stands for it. `form` is text, base64 or "" for JSON. Raises PayloadTooLarge."""
        blob = reference(content, form)
        await bring(await self.connection(), content, blob[KEY])
        return blob

    async def put_all(self, files: Contents) -> None:
        """Many, some at a time; they are read in threads."""
        waiting = iter(list(files.sizes_bytes))
        large = asyncio.Semaphore(LARGE_AT_ONCE)

        async def some() -> None:
            for name in waiting:
                async with large if files.sizes_bytes[name] > CHUNK_BYTES else nullcontext():
                    content = await asyncio.to_thread(files.read, name)
                    await bring(await self.connection(), content, name)

        tasks = [asyncio.create_task(some()) for _ in range(AT_ONCE)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def get(self, blob: dict[str, Any]) -> bytes:
        return await fetch(await self.connection(), blob)

    async def whole(self, value: Any) -> Any:
        """`value` with what its blobs hold; each is fetched once."""
        contents: dict[str, bytes] = {}
        for blob in references_in(value):
            if blob[KEY] not in contents:
                contents[blob[KEY]] = await fetch(await self.connection(), blob)
        return replaced(value, lambda blob: value_of(blob, contents[blob[KEY]])) if contents else value

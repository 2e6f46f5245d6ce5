"""What a server complains of: kept in a file that does not grow for ever, and its last lines in mind."""

import asyncio
from pathlib import Path

LIMIT_BYTES = 1024 * 1024
"""Of the file; what was in it goes to NAME.1 then."""
KEPT_BYTES = 2048
LAST_LINES = 6
BYTES_A_SECOND = 256 * 1024
"""One that complains faster is read no faster."""


class Complaints:
    """Reads until the end of the stream; `close` it."""

    def __init__(self, reader: asyncio.StreamReader, path: Path | None) -> None:
        self._reader = reader
        self._path = path
        self._last = b""
        self._task = asyncio.create_task(self._read(), name="read stderr")

    def last_words(self) -> str:
        text = self._last.decode(errors="replace")
        return "\n".join(text.rstrip().splitlines()[-LAST_LINES:])

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _read(self) -> None:
        while chunk := await self._reader.read(64 * 1024):
            self._last = (self._last + chunk)[-KEPT_BYTES:]
            if self._path is not None:
                self._write(self._path, chunk)
            if len(chunk) > 16 * 1024:
                await asyncio.sleep(len(chunk) / BYTES_A_SECOND)

    def _write(self, path: Path, chunk: bytes) -> None:
        """A log that cannot be written is no reason to stop reading: the server would stand still."""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if path.exists() and path.stat().st_size > LIMIT_BYTES:
                path.replace(path.with_name(f"{path.name}.1"))
            with path.open("ab") as file:
                file.write(chunk)
        except OSError:
            return

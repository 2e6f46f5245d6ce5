"""The example providers do what their words say."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gleitzeit.errors import InvalidParams, MethodNotFound
from gleitzeit.schemas import methods_of
from gleitzeit.transport import connect

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


@asynccontextmanager
async def printing(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        await process.communicate()


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
async def test_the_provider_in_javascript() -> None:
    async with printing("node", str(EXAMPLES / "provider_in_javascript/provider.mjs"), "0") as process:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        connection = await connect(url)
        document = await connection.call("rpc.discover", {"_meta": {"batch": "split"}})
        assert [method.name for method in methods_of(document)] == ["text/slug", "text/statistics"]
        assert document["x-gleitzeit"]["protocols"] == ["text/v1"]
        meta = {"callId": "w/t/1", "workflow_id": "w", "task_id": "t", "attempt": 1}
        assert await connection.call("text/slug", {"title": "Über die Gleitzeit!", "_meta": meta}) == {
            "slug": "uber-die-gleitzeit"
        }
        large = {"text": "ab c\n" * 200_000}  # a frame with the longest form of its length
        assert (await connection.call("text/statistics", large))["words"] == 400_000
        with pytest.raises(InvalidParams):
            await connection.call("text/slug", {})
        with pytest.raises(MethodNotFound):
            await connection.call("toString")
        await connection.close()


async def test_the_provider_in_fifteen_lines() -> None:
    ready, tell_ready = os.pipe()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        EXAMPLES / "provider_in_fifteen_lines.py",
        env={**os.environ, "GLEITZEIT_READY_FD": str(tell_ready)},
        pass_fds=(tell_ready,),
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(tell_ready)
    try:
        line = await asyncio.to_thread(os.read, ready, 4096)
        connection = await connect(line.decode().split('"')[3])
        assert await connection.call("words/count", {"text": "the cat and the hat", "shortest": 3}) == {
            "and": 1,
            "cat": 1,
            "hat": 1,
            "the": 2,
        }
        await connection.close()
    finally:
        os.close(ready)
        process.terminate()
        await process.communicate()
    assert process.returncode == 0

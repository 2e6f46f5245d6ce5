"""The text of a running task, as a client sees it over a crash of the coordinator: whole, in order, nothing twice."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from gleitzeit.client import Client, ConnectionItem, StreamItem
from gleitzeit.stack import Stack, StackConfig

WRITER = """
import asyncio
import pathlib
from gleitzeit.provider import Call, Provider

provider = Provider("writer", protocols=["test/v1"], capacity=4)

@provider.method("test/write")
async def write(call: Call, words: int, gate: str) -> str:
    for number in range(words):
        while number == words - 1 and not pathlib.Path(gate).exists():
            await asyncio.sleep(0.01)
        call.stream(f"wörd {number} ")
        await asyncio.sleep(0.005)
    return "".join(f"wörd {number} " for number in range(words))

provider.main()
"""
WORDS = 300


async def test_a_text_survives_the_coordinator(tmp_path: Path) -> None:
    script = tmp_path / "writer.py"
    script.write_text(WRITER)
    config = StackConfig(state=tmp_path / "state", providers=("writer",), log_files=True, log_level="warning")
    stack = Stack(config, commands={"writer": (sys.executable, str(script))})
    try:
        address = await stack.start()
        async with await Client.connect(address.url) as client, asyncio.timeout(30):
            gate = tmp_path / "the coordinator has the call"  # one that ends before has only its result to show
            task = {"id": "t", "method": "test/write", "params": {"words": WORDS, "gate": str(gate)}}
            submitted = await client.submit_definition({"name": "write", "tasks": [task]})
            text, pieces, lost = "", 0, 0
            async for item in client.watch(submitted.workflow_id):
                if isinstance(item, ConnectionItem):
                    lost += not item.connected
                elif isinstance(item, StreamItem):
                    assert (item.offset, item.gap) == (len(text), False)
                    text += item.delta
                    pieces += 1
                    if lost:
                        gate.touch()
                    if pieces == 50:
                        os.kill((await client.status()).pid, signal.SIGKILL)
            assert lost == 1
            assert (await client.task(submitted.workflow_id, "t")).result == text
    finally:
        await stack.stop()

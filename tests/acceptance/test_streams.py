"""The text of a running task, as a client sees it over a crash of the coordinator: whole, in order, nothing twice."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from gleitzeit.client import Client, ConnectionItem, StreamItem
from gleitzeit.stack import Stack, StackConfig

WRITER = """
import asyncio
import pathlib
from gleitzeit.provider import Call, Provider

provider = Provider("writer", protocols=["test/v1"], capacity=4)

@provider.method("test/write")
async def write(call: Call, words: int, gate: str, gate_at: int) -> str:
    for number in range(words):
        while number == gate_at and not pathlib.Path(gate).exists():
            await asyncio.sleep(0.01)
        call.stream(f"wörd {number} ")
        if number < gate_at:
            await asyncio.sleep(0.005)
    return "".join(f"wörd {number} " for number in range(words))

provider.main()
"""
WORDS, KILLED_AT = 300, 50


@pytest.mark.parametrize("ends", ["later", "while nobody is there"])
async def test_a_text_survives_the_coordinator(tmp_path: Path, ends: str) -> None:
    script = tmp_path / "writer.py"
    script.write_text(WRITER)
    config = StackConfig(state=tmp_path / "state", providers=("writer",), log_files=True, log_level="warning")
    stack = Stack(config, commands={"writer": (sys.executable, str(script))})
    try:
        address = await stack.start()
        async with await Client.connect(address.url) as client, asyncio.timeout(30):
            gate = tmp_path / "gate"
            params = {"words": WORDS, "gate": str(gate), "gate_at": WORDS - 1 if ends == "later" else KILLED_AT}
            task = {"id": "t", "method": "test/write", "params": params}
            submitted = await client.submit_definition({"name": "write", "tasks": [task]})
            text, lost, killed = "", 0, False
            async for item in client.watch(submitted.workflow_id):
                if isinstance(item, ConnectionItem):
                    lost += not item.connected
                elif isinstance(item, StreamItem):
                    assert (item.offset, item.gap) == (len(text), False)
                    text += item.delta
                    if lost:
                        gate.touch()
                    if not killed and f"wörd {KILLED_AT - 1} " in text:
                        killed = True
                        os.kill((await client.status()).pid, signal.SIGKILL)
                        if ends != "later":
                            gate.touch()
            assert lost == 1
            assert (await client.task(submitted.workflow_id, "t")).result == text
    finally:
        await stack.stop()

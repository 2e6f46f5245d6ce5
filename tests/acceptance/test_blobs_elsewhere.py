"""Large values on the journals that are servers: stored, read whole and in part, also by the next coordinator."""

from pathlib import Path

import pytest
from tests.acceptance.support import Stack, eventually

from gleitzeit.client import Client

MAKE = "result = {'text': 'ab' * 3_000_000, 'rows': [[i, i * i] for i in range(100_000)], 'n': 3}"
PARTS = ["${make.result.rows[7]}", "${make.result.n + 1}", "${make.result.rows[99999][0]}"]


@pytest.mark.parametrize("kind", [pytest.param("postgres", marks=pytest.mark.long), "redis"])
async def test_a_large_result_outlives_the_coordinator(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    journal = request.getfixturevalue(kind).place()
    stack = Stack(tmp_path / "state", "--provider", "echo,python", "--journal", journal)
    waits = {"id": "wait", "method": "signal/wait", "params": {"signal_name": "go"}, "dependencies": ["make"]}
    tasks = [
        {"id": "make", "method": "python/execute", "params": {"code": MAKE}},
        {"id": "before", "method": "echo/echo", "params": {"message": PARTS}},
        waits,
        {"id": "after", "method": "echo/echo", "dependencies": ["wait"], "params": {"message": PARTS}},
        {"id": "size", "method": "python/execute", "dependencies": ["wait"],
         "params": {"code": "result = [len(${make.result.text}), len(${make.result.rows})]"}},
    ]  # fmt: skip
    async with await Client.connect(stack.url) as client:
        workflow_id = (await client.submit({"name": "large", "tasks": tasks})).workflow_id

        async def waiting() -> bool:
            counts = (await client.get(workflow_id)).counts
            return (counts.get("waiting"), counts.get("completed")) == (1, 2)

        await eventually(waiting)
    assert stack.stop() == 0  # in good order: the next one need not wait for the end of a lease
    stack = Stack(tmp_path / "state", "--provider", "echo,python", "--journal", journal)
    async with await Client.connect(stack.url) as client:
        await client.signal(workflow_id, "go")
        result = (await client.wait(workflow_id, timeout_seconds=60)).raise_for_status()
        meant = [[7, 49], 4, 99_999]
        assert [result.results[task]["message"] for task in ("before", "after")] == [meant, meant]
        assert result.value("size") == [6_000_000, 100_000]
        made = result.value("make")
        assert (made["text"], made["rows"][99_999]) == ("ab" * 3_000_000, [99_999, 99_999**2])
    assert stack.stop() == 0

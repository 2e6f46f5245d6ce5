"""Large values between real processes: beside the messages, read by nobody who only passes them on."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import websockets
from tests.acceptance.support import Stack, eventually, gz

from gleitzeit.client import Client
from gleitzeit.errors import BlobNotFound, InvalidParams, PayloadTooLarge, TaskError
from gleitzeit.model.blobs import is_blob, reference

MAKE = {
    "id": "make",
    "method": "python/execute",
    "params": {"code": "result = {'text': 'ab' * 3_000_000, 'rows': [[i, i * i] for i in range(60_000)], 'n': 3}"},
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("stack") / "state", "--provider", "echo,python")
    yield stack
    stack.stop()


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[Client]:
    async with await Client.connect(await asyncio.to_thread(lambda: stack.url)) as client:
        yield client


async def test_a_large_result_is_read_whole_in_part_and_passed_on(client: Client, stack: Stack) -> None:
    tasks = [
        MAKE,
        {"id": "whole", "method": "python/execute", "params": {"code": "result = len(${make.result.text})"}},
        {"id": "scene", "method": "python/execute", "dependencies": ["make"],
         "params": {"code": "result = len(context['make']['result']['text'])"}},
        {"id": "part", "method": "echo/echo", "params": {"message": "row ${make.result.rows[7]}, n ${make.result.n}"}},
        {"id": "echo", "method": "echo/echo", "params": {"message": "${make.result.text}"}},
    ]  # fmt: skip
    outputs = {"n": "${make.result.n * 2}", "text": "${make.result.text}"}
    document = {"name": "large", "tasks": tasks, "outputs": outputs}
    result = (await client.run_workflow(document, timeout_seconds=60)).raise_for_status()
    assert (result.value("whole"), result.value("scene")) == (6_000_000, 6_000_000)
    assert result.value("part") == "row [7,49], n 3"
    assert result.outputs == {"n": 6, "text": "ab" * 3_000_000}
    assert result.results["echo"]["message"] == "ab" * 3_000_000

    shown = await client.result(result.workflow_id, whole=False)
    assert is_blob(shown.results["make"]["result"]["text"])
    assert shown.results["echo"]["message"] == shown.results["make"]["result"]["text"] == shown.outputs["text"]
    view = await client.get(result.workflow_id)
    assert is_blob(view.tasks[0].result["result"]["text"])
    told = await asyncio.to_thread(
        gz, "result", result.workflow_id, "make", "-o", "json", "--url", client.url, state=stack.state
    )
    assert json.loads(told.stdout)["result"]["result"]["text"] == "ab" * 3_000_000


@pytest.mark.parametrize("size_bytes", [17_000_000, pytest.param(67_000_000, marks=pytest.mark.long)])
async def test_more_than_a_frame_holds(client: Client, size_bytes: int) -> None:
    make = {"id": "make", "method": "python/execute", "params": {"code": f"result = 'x' * {size_bytes}"}}
    size = {"id": "size", "method": "python/execute", "params": {"code": "result = len(${make.result})"}}
    result = await client.run_workflow({"name": "huge", "tasks": [make, size]}, timeout_seconds=90)
    assert result.raise_for_status().value("size") == size_bytes


@pytest.mark.long
async def test_less_than_a_blob_may_have(client: Client) -> None:
    make = {"id": "make", "method": "python/execute", "params": {"code": "result = 'x' * 70_000_000"}}
    with pytest.raises(TaskError, match="limit"):
        (await client.run_workflow({"name": "too large", "tasks": [make]}, timeout_seconds=90)).raise_for_status()


async def test_they_outlive_the_coordinator(client: Client, stack: Stack) -> None:
    wait = {"id": "wait", "method": "signal/wait", "params": {"signal_name": "go"}, "dependencies": ["make"]}
    size = {"id": "size", "method": "python/execute", "dependencies": ["wait"],
            "params": {"code": "result = [len(${make.result.text}), ${make.result.rows[3][1]}]"}}  # fmt: skip
    submitted = await client.submit({"name": "crash", "tasks": [MAKE, wait, size]})
    await eventually(lambda: _waits(client, submitted.workflow_id))
    os.kill(stack.pid("gz_coordinator"), 9)
    await eventually(lambda: _signalled(client, submitted.workflow_id))
    result = await client.wait(submitted.workflow_id, timeout_seconds=60)
    assert result.raise_for_status().value("size") == [6_000_000, 9]


async def _waits(client: Client, workflow_id: str) -> bool:
    return (await client.get(workflow_id)).counts.get("waiting") == 1


async def _signalled(client: Client, workflow_id: str) -> bool:
    try:
        await client.signal(workflow_id, "go")
    except Exception:  # noqa: BLE001 - whatever a coordinator that is gone, or starts, answers
        return False
    return True


async def test_pieces_are_held_to_their_name(client: Client) -> None:
    blob = await client.blobs.put(b"x" * 600_000)
    assert await client.blobs.get(blob) == b"x" * 600_000
    empty = reference(b"nobody has sent this")
    with pytest.raises(BlobNotFound):
        await client.blobs.get(empty)
    with pytest.raises(InvalidParams, match="digest"):
        await client.call("blob.put", {"blob": empty["$blob"], "size_bytes": 1, "data": "eA=="})
    with pytest.raises(InvalidParams, match="base64"):
        await client.call("blob.put", {"blob": empty["$blob"], "size_bytes": 1, "data": "?"})
    with pytest.raises(PayloadTooLarge):
        await client.call("blob.put", {"blob": empty["$blob"], "size_bytes": 65 << 20, "data": "eA=="})


async def test_a_value_that_nobody_has_fails_the_task_that_reads_it(client: Client) -> None:
    lost = reference(b"this was never brought")
    task = {"id": "t", "method": "python/execute", "params": {"code": "result = ${inputs.value}"}}
    result = await client.run_workflow({"name": "lost", "tasks": [task]}, inputs={"value": lost}, timeout_seconds=60)
    assert result.status == "failed"
    assert result.error is not None
    assert lost["$blob"] in result.error.message


async def test_a_provider_that_knows_nothing_of_them_gets_values_whole(client: Client) -> None:
    got: list[dict[str, Any]] = []

    async def plain(socket: websockets.ServerConnection) -> None:
        """A provider in twenty lines: JSON-RPC and nothing else."""
        async for message in socket:
            request = json.loads(message)
            if "id" not in request:
                continue
            answer: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"]}
            if request["method"] == "plain/size":
                got.append(request["params"])
                answer["result"] = {"result": len(request["params"]["text"]), "back": request["params"]["text"]}
            else:
                answer["error"] = {"code": -32601, "message": "no such method"}
            await socket.send(json.dumps(answer))

    async with websockets.serve(plain, "127.0.0.1", 0, max_size=None) as server:
        port = server.sockets[0].getsockname()[1]
        registration = {"url": f"ws://127.0.0.1:{port}/", "name": "plain", "methods": ["plain/size"]}
        await client.call("provider.register", registration)
        size = {"id": "size", "method": "plain/size", "params": {"text": "${make.result.text}"}}
        again = {"id": "again", "method": "python/execute", "params": {"code": "result = len(${size.back})"}}
        result = await client.run_workflow({"name": "plain", "tasks": [MAKE, size, again]}, timeout_seconds=60)
        assert result.raise_for_status().value("size") == 6_000_000
        assert result.value("again") == 6_000_000
        assert got[0]["text"] == "ab" * 3_000_000
        huge = {"id": "make", "method": "python/execute", "params": {"code": "result = {'text': 'x' * 20_000_000}"}}
        refused = await client.run_workflow({"name": "plain", "tasks": [huge, size]}, timeout_seconds=60)
        assert refused.error is not None
        assert refused.error.name == "PAYLOAD_TOO_LARGE"

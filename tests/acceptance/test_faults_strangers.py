"""Providers that do not use our SDK, and get it wrong: their tasks end, and say why."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import support
from support import Stack
from websockets.asyncio.server import ServerConnection, serve

from gleitzeit.client import Client
from gleitzeit.client.watch import WatchEvent
from gleitzeit.errors import InvalidParams
from gleitzeit.model.events import TaskFailed, WorkflowFailed
from gleitzeit.process.state import find_running
from gleitzeit.transport import Connection


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    running = Stack(tmp_path_factory.mktemp("strangers") / "state", "--provider", "echo,python")
    yield running
    assert running.stop() == 0


@contextlib.asynccontextmanager
async def stranger(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> AsyncIterator[str]:
    """A provider in thirty words; `answer` makes the response of a request."""

    async def serving(socket: ServerConnection) -> None:
        async for frame in socket:
            asked = json.loads(frame)
            for one in asked if isinstance(asked, list) else [asked]:
                if one.get("method") == "rpc.discover":
                    unknown = {"code": -32601, "message": "what?"}
                    await socket.send(json.dumps({"jsonrpc": "2.0", "id": one["id"], "error": unknown}))
                elif "id" in one:
                    try:
                        said = answer(one)
                    except ConnectionError:
                        return
                    await socket.send(json.dumps({"jsonrpc": "2.0", "id": one["id"], **said}))

    async with serve(serving, "127.0.0.1", 0, max_size=None) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def register(connection: Connection, url: str, name: str) -> None:
    await connection.call("provider.register", {"url": url, "name": name, "methods": [f"{name}/say"], "capacity": 4})


async def test_a_result_that_fits_into_no_frame_is_refused_by_its_size(stack: Stack, connection: Connection) -> None:
    calls = []

    def large(asked: dict[str, Any]) -> dict[str, Any]:
        calls.append(asked["id"])
        return {"result": "x" * 17_000_000}

    async with stranger(large) as url:
        await register(connection, url, "large")
        workflow_id = await support.submit(connection, {"id": "a", "method": "large/say", "retry": 5})
        view = await support.finished(stack.url, workflow_id)
    (task,) = view["tasks"]
    assert (task["status"], task["error"]["name"]) == ("failed", "PAYLOAD_TOO_LARGE")
    assert "17000" in task["error"]["message"].replace(",", "")
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("name", "announced"), [("exact", {"calls": "v1"}), ("precise", {"protocols": ["precise/v1", "calls/v1"]})]
)
async def test_a_call_that_can_be_attached_is_asked_for_less(
    stack: Stack, connection: Connection, name: str, announced: dict[str, Any]
) -> None:
    """calls/v1 without our SDK: its result closes the socket, and is then asked for with a limit."""
    asked: list[dict[str, Any]] = []
    about = {"name": name, "instance": f"of-{name}", "capacity": 2, **announced}
    document = {"openrpc": "1.4.1", "methods": [{"name": f"{name}/say", "params": []}], "x-gleitzeit": about}

    async def serving(socket: ServerConnection) -> None:
        async for frame in socket:
            one = json.loads(frame)
            asked.append(one)
            answer: dict[str, Any] = {"result": document}
            if one["method"] == f"{name}/say":
                answer = {"result": "x" * 17_000_000}
            elif one["method"] == "call.attach":
                size = f"the result has 17000002 bytes, {one['params']['maxResultBytes']} are wanted"
                answer = {"error": {"code": -31006, "message": size}}
            if "id" in one:
                await socket.send(json.dumps({"jsonrpc": "2.0", "id": one["id"], **answer}))

    async with serve(serving, "127.0.0.1", 0, max_size=None) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        await connection.call("provider.register", {"url": url})
        workflow_id = await support.submit(connection, {"id": "a", "method": f"{name}/say"})
        view = await support.finished(stack.url, workflow_id)
    (task,) = view["tasks"]
    assert (task["status"], task["error"]["name"]) == ("failed", "PAYLOAD_TOO_LARGE")
    assert sum(one["method"] == f"{name}/say" for one in asked) == 1, "it was paid once"


async def test_who_watches_hears_of_a_failure_however_much_it_says(stack: Stack, connection: Connection) -> None:
    """Its event was larger than a message, and nobody understood what was left of it."""
    code = "print('o' * 200_000); raise ValueError('x' * 1_000_000)"
    document = {"name": "wordy", "tasks": [{"id": "a", "method": "python/execute", "params": {"code": code}}]}
    async with Client(stack.url) as client, asyncio.timeout(support.PATIENCE_SECONDS):
        submitted = await client.submit(document)
        told = [item.event async for item in client.watch(submitted.workflow_id) if isinstance(item, WatchEvent)]
    last = told[-1]
    assert isinstance(last, WorkflowFailed)
    assert last.error.message.startswith("ValueError: xxx")
    assert any(isinstance(event, TaskFailed) for event in told)


async def test_a_page_holds_a_thousand_tasks_that_failed_with_many_words(stack: Stack, connection: Connection) -> None:
    words = {"code": -32602, "message": "m" * 20_000, "data": {"output": "o" * 20_000}}
    async with stranger(lambda asked: {"error": words}) as url:
        await register(connection, url, "wordy")
        items = {"for_each": list(range(1_000)), "on_item_error": "skip", "retry": 1}
        workflow_id = await support.submit(connection, {"id": "a", "method": "wordy/say", **items})
        await support.finished(stack.url, workflow_id)
    page = await connection.call("workflow.get", {"workflow_id": workflow_id, "items_of": "a", "limit": 1_000})
    assert len(page["tasks"]) == 1_000
    assert all("mmm" in task["error"]["message"] for task in page["tasks"])
    told = await connection.call("workflow.explain", {"workflow_id": workflow_id})
    assert len(told["tasks"]) == 1_000


async def test_answers_with_wrong_ids_are_not_waited_for_without_end(stack: Stack, connection: Connection) -> None:
    async with stranger(lambda asked: {"result": 1, "id": asked["id"] + 1_000}) as url:
        await register(connection, url, "wrong")
        task = {"id": "a", "method": "wrong/say", "retry": {"max_attempts": 1}}
        workflow_id = await support.submit(connection, task)
        view = await support.finished(stack.url, workflow_id)
    assert view["tasks"][0]["error"]["name"] == "CALL_LOST"
    assert "ids that nobody asked for" in view["tasks"][0]["error"]["message"]


def test_kill_9_of_an_embedded_stack_ends_its_command_soon(tmp_path: Path) -> None:
    document = tmp_path / "long.yaml"
    mark = tmp_path / "mark"
    code = f"open({str(mark)!r}, 'w').close(); import time; time.sleep(60); result = 1"
    task = {"id": "a", "method": "python/execute", "params": {"code": code}}
    document.write_text(json.dumps({"name": "long", "tasks": [task]}))
    environ = {**os.environ, "GLEITZEIT_STATE": str(tmp_path / "state"), "NO_COLOR": "1"}
    command = [sys.executable, "-m", "gz_cli", "run", str(document)]
    running = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    address = support.wait_for(lambda: find_running(tmp_path / "state"))
    support.wait_for(mark.exists)
    killed = [*support.descendants(address.pid), address.pid]
    for pid in killed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _, stderr = running.communicate(timeout=45)  # the task would take a minute
    assert running.returncode == 5, stderr
    assert "the stack has died" in stderr


def test_ctrl_c_while_gz_is_imported_shows_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    command = [sys.executable, "-m", "gz_cli", "list"]
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    gz = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert gz.stdout is not None
    assert gz.stdout.readline() == "importing\n"
    gz.send_signal(signal.SIGINT)
    _, stderr = gz.communicate(timeout=20)
    assert (gz.returncode, stderr) == (-signal.SIGINT, "")


async def test_nobody_sees_the_password_of_nats(tmp_path: Path) -> None:
    folder = tmp_path / "nats"
    folder.mkdir()
    program = str(Path(sys.executable).with_name("nats-server"))
    options = ["-a", "127.0.0.1", "-p", "-1", "--user", "me", "--pass", "hush-hush", "--ports_file_dir", str(folder)]
    nats = await asyncio.create_subprocess_exec(program, *options, stderr=asyncio.subprocess.DEVNULL)
    try:
        ports = await support.eventually(lambda: next(folder.glob("*.ports"), None))
        await support.eventually(lambda: ports.read_text().strip())
        url = json.loads(ports.read_text())["nats"][0].replace("nats://", "nats://me:hush-hush@")
        (tmp_path / "config.yaml").write_text(f"nats_url: {url}\n")
        environ = {"GLEITZEIT_NATS_URL": url}
        stack = Stack(tmp_path / "state", "--provider", "echo", environ=environ)
        try:
            found = await support.connected(stack)
            lines = [" ".join(support.command_line(pid)) for pid in support.descendants(stack.process.pid)]
            assert any("gz_coordinator" in line for line in lines)
            assert not any("hush-hush" in line for line in lines)
            workflow_id = await support.submit(found, {"id": "a", "method": "echo/echo", "params": {"message": "x"}})
            assert (await support.finished(stack.url, workflow_id))["status"] == "completed"
            await found.close()
        finally:
            assert stack.stop() == 0
    finally:
        nats.terminate()
        await nats.wait()


async def test_one_that_hangs_up_at_every_call_is_not_stormed(stack: Stack, connection: Connection) -> None:
    calls = []

    def hang_up(asked: dict[str, Any]) -> dict[str, Any]:
        calls.append(asked["id"])
        raise ConnectionError("it hangs up")

    async with stranger(hang_up) as url:
        await connection.call("provider.register", {"url": url, "name": "rude", "methods": ["rude/say"], "capacity": 1})
        tasks = [{"id": f"t{n}", "method": "rude/say", "on_lost": "retry"} for n in range(30)]
        workflow_id = await support.submit(connection, *tasks)

        async def left_alone() -> bool:
            (one,) = (await connection.call("provider.get", {"name": "rude"}))["instances"]
            return [circuit["state"] for circuit in one["circuits"]] == ["open"]

        await support.eventually(left_alone)
        assert len(calls) == 10
        told = await connection.call("workflow.explain", {"workflow_id": workflow_id})
        assert "circuit_open" in {task["reason"] for task in told["tasks"]}
        await connection.call("workflow.cancel", {"workflow_id": workflow_id})


async def test_a_registration_with_a_wrong_schema_is_refused_by_the_name_of_its_method(connection: Connection) -> None:
    async with stranger(lambda asked: {"result": 1}) as url:
        schemas = {"odd/good": {"params": {"type": "object"}}, "odd/bad": {"params": {"type": "foo"}}}
        wanted = {"url": url, "name": "odd", "methods": ["odd/good", "odd/bad"], "schemas": schemas}
        with pytest.raises(InvalidParams, match="odd/bad"):
            await connection.call("provider.register", wanted)

"""The client against a stack of real processes: one that it starts, and one that it finds."""

import asyncio
import inspect
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gleitzeit
from gleitzeit.client import Client, GleitzeitClient, StreamItem, SyncClient, WatchEvent, WatchItem, earlier
from gleitzeit.errors import ConfigurationError, DocumentError, TaskError, WorkflowNotFound
from gleitzeit.process.absent import NoModel, NotRunning

ROOT = Path(__file__).resolve().parents[3]
HELLO = "name: Hello\ntasks:\n  - {id: greet, method: echo/echo, params: {message: 'Hello, ${inputs.who}!'}}\n"
NO_MODEL = {"OLLAMA_HOST": "127.0.0.1:1", "OPENAI_API_KEY": "", "ANTHROPIC_API_KEY": "", "GLEITZEIT_GGUF": ""}


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("home")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GLEITZEIT_")}
    return {**kept, **NO_MODEL, "HOME": str(home), "GLEITZEIT_STATE": str(home / "state")}


@pytest.fixture(scope="module")
def sync_client(environ: dict[str, str]) -> Iterator[SyncClient]:
    """Starts the stack for all tests of this module, which ends after it."""
    with SyncClient(environ=environ) as client:
        yield client


async def test_a_program_needs_nothing_but_a_client(sync_client: SyncClient, environ: dict[str, str]) -> None:
    heard: list[WatchItem] = []
    async with Client(environ=environ) as client:
        result = await client.run_workflow(HELLO, {"who": "world"}, on_item=heard.append)
        assert (result.ok, result.value("greet"), result.name) == (True, "Hello, world!", "Hello")
        assert [type(item.event).__name__ for item in heard if isinstance(item, WatchEvent)][-1] == "WorkflowCompleted"
        assert (await client.status()).embedded
        assert client.url == await asyncio.to_thread(lambda: sync_client.run_task("echo/ping") and sync_client.url)


async def test_documents_come_as_paths_texts_and_dicts(sync_client: SyncClient, environ: dict[str, str]) -> None:
    async with Client(environ=environ) as client:
        submitted = await client.submit(ROOT / "examples" / "hello.yaml")
        events = [item.event async for item in client.watch(submitted.workflow_id) if isinstance(item, WatchEvent)]
        assert type(events[-1]).__name__ == "WorkflowCompleted"
        task = {"id": "home", "method": "echo/echo", "params": {"message": "${env.HOME}"}}
        assert (await client.run_workflow({"name": "n", "tasks": [task]})).value("home") == environ["HOME"]
        with pytest.raises(DocumentError, match="did you mean"):
            await client.submit("name: n\ntasks:\n  - {id: a, method: echo/eco}\n")
        with pytest.raises(DocumentError, match="cannot be read"):
            await client.submit("no/such/file.yaml")


async def test_a_failure_is_a_result_or_an_exception(sync_client: SyncClient, environ: dict[str, str]) -> None:
    failing = {"name": "n", "tasks": [{"id": "bad", "method": "python/execute", "params": {"code": "1/0"}}]}
    async with Client(environ=environ) as client:
        result = await client.run_workflow(failing)
        assert (result.ok, result.status) == (False, "failed")
        with pytest.raises(TaskError, match="division by zero") as caught:
            result.raise_for_status()
        assert caught.value.data is not None
        assert caught.value.data["task"] == "bad"


async def test_python_gets_values_and_its_source_is_never_read_for_references(
    sync_client: SyncClient, environ: dict[str, str], tmp_path: Path
) -> None:
    source = "result = ['${not.a.reference}', '{{ nor.this }}', context['n'], '$${', '${{']"
    (tmp_path / "script.py").write_text(source, encoding="utf-8")
    async with Client(environ=environ) as client:
        expected = ["${not.a.reference}", "{{ nor.this }}", "${x}", "$${", "${{"]
        assert await client.execute_python(source, context={"n": "${x}"}) == expected
        assert await client.execute_python(file=tmp_path / "script.py", context={"n": "${x}"}) == expected
        assert await client.execute_python("print(6 * 7)") == 42
        with pytest.raises(ConfigurationError, match="one of code, file and function"):
            await client.execute_python()


async def test_who_stops_waiting_for_a_single_task_cancels_it(sync_client: SyncClient, environ: dict[str, str]) -> None:
    async with Client(environ=environ) as client:
        with pytest.raises(TimeoutError, match=r"wf-\w+ has not ended within 0.3 s"):
            await client.run_task("echo/delay", {"seconds": 9}, timeout_seconds=0.3)
        row = (await client.list(name="echo/delay", limit=1)).workflows[0]
        assert row.status == "cancelled"


async def test_without_a_model_somebody_says_so(sync_client: SyncClient, environ: dict[str, str]) -> None:
    async with Client(environ=environ) as client:
        with pytest.raises(NoModel, match=r"llm/chat"):
            await client.chat("Is anybody there?")


async def test_the_modes(sync_client: SyncClient, environ: dict[str, str], tmp_path: Path) -> None:
    async with Client(mode="api", environ=environ) as found:
        assert (await found.run_task("echo/echo", {"message": "${x}"}))["message"] == "${x}"
    elsewhere = {**environ, "GLEITZEIT_COORDINATOR": "ws://127.0.0.1:9/"}
    async with Client(mode="native", environ=elsewhere) as native:
        assert native.url == ""
        assert (await native.status()).embedded
    with pytest.raises(NotRunning):
        await Client(mode="api", environ=environ, state=tmp_path).status()
    with pytest.raises(ConfigurationError, match="no mode 'other'"):
        Client(mode="other")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="takes no url"):
        Client("ws://127.0.0.1:9/", mode="native")


def test_the_twin_without_asyncio(sync_client: SyncClient) -> None:
    submitted = sync_client.submit(HELLO, inputs={"who": "you"})
    items = list(sync_client.watch(submitted.workflow_id))
    assert not [item for item in items if isinstance(item, StreamItem)]
    assert sync_client.result(submitted.workflow_id).value("greet") == "Hello, you!"
    assert sync_client.execute_python("result = 1 + 1") == 2
    with pytest.raises(WorkflowNotFound):
        sync_client.get("no-such-workflow")


def test_the_twin_takes_the_same_arguments() -> None:
    """What it has is what the client has, with the same parameters, defaults and types."""
    shared = [name for name in vars(SyncClient) if not name.startswith("_") and hasattr(Client, name)]
    assert {"submit", "run_workflow", "watch", "result", "chat", "vision", "execute_python"} <= set(shared)
    for name in shared:
        ours, theirs = getattr(SyncClient, name), getattr(Client, name)
        if name not in ("url", "watch"):  # a property; and patience is for those who can be interrupted
            assert inspect.signature(ours).parameters == inspect.signature(theirs).parameters, name


async def test_earlier_names(environ: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with GleitzeitClient(persistence="memory", environ=environ) as client:
        tasks: list[dict[str, Any]] = [
            {"id": "a", "protocol": "echo/v1", "method": "echo", "params": {"message": "hi"}},
            {"id": "b", "method": "echo/error", "params": {"message": "no"}},
        ]
        document = await client.create_workflow("earlier", tasks, description="as before")
        workflow_id = await client.submit_workflow(document)
        assert (await client.wait(workflow_id)).status == "failed"
        assert (await client.get_workflow_status(workflow_id)).tasks_total == 2
        assert (await client.get_workflow_results(workflow_id))["a"]["response"] == "hi"
        assert list(await client.get_workflow_errors(workflow_id)) == ["b"]
        assert (await client.get_task_result(workflow_id, "a")).status == "completed"
        assert [row.name for row in await client.list_workflows(5)] == ["earlier"]
        assert (await client.execute_task("echo/v1", "echo", {"message": "x"}))["message"] == "x"
        script = tmp_path / "script.py"
        script.write_text("result = context['n']")
        assert await client.execute_python(script_file=script, context={"n": 1}, timeout=10) == 1
        assert await client.execute_python(str(script), {"n": 2}) == 2
        capsys.readouterr()
        assert (await client.run_workflow(document, True)).status == "failed"
        assert capsys.readouterr().err.splitlines()[-1] == "WorkflowFailed"
        assert (await client.status()).journal == "memory:"
        folder = client.folder or ""
        assert os.listdir(folder)
    with pytest.raises(FileNotFoundError):
        os.listdir(folder)


def test_clients_stand_where_earlier_versions_had_them() -> None:
    assert gleitzeit.GleitzeitClient is GleitzeitClient
    assert gleitzeit.Client is Client
    assert gleitzeit.execute_python is earlier.execute_python
    assert set(gleitzeit.__all__) <= set(dir(gleitzeit))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = gleitzeit.nothing


async def test_earlier_arguments(tmp_path: Path) -> None:
    assert GleitzeitClient(api_host="there", api_port=1).url == "ws://there:1/"
    assert GleitzeitClient(auto_start_server=False).mode == "api"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert GleitzeitClient(api_host="localhost", api_port=port).url == f"ws://localhost:{port}/"
    assert GleitzeitClient(api_host="localhost", api_port=port).url == "", "nobody answers there: one of its own"
    assert GleitzeitClient(api_port=port, auto_start_server=False).url == f"ws://127.0.0.1:{port}/"
    with pytest.warns(DeprecationWarning, match="native_config has no effect"):
        GleitzeitClient(native_config={"x": 1})
    with pytest.raises(ConfigurationError):
        GleitzeitClient(mode="native", api_port=1)


async def test_functions_for_one_question(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch,
                                          sync_client: SyncClient) -> None:  # fmt: skip
    for name in ("HOME", "GLEITZEIT_STATE"):
        monkeypatch.setenv(name, environ[name])
    assert await earlier.execute_python("result = [1]") == [1]
    assert (await earlier.run_workflow(HELLO, inputs={"who": "all"})).value("greet") == "Hello, all!"

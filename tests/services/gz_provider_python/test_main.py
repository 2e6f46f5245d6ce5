"""python/v1 as a coordinator sees it: over a socket, with real processes behind it."""

import asyncio
import base64
import os
import pickle
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from gleitzeit.errors import InvalidParams, ParameterError, ResultInvalid, TaskCancelled, TaskError, TaskTimeout
from gleitzeit.transport import Connection, connect
from gz_provider_python.main import build
from gz_provider_python.methods import Settings
from gz_provider_python.processes import ProcessIsolation
from gz_provider_python.wire import Limits


class Peer:
    """A connection to the provider, and what it said besides its answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.connection: Connection
        self.said: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

    def hear(self, connection: Connection, method: str, params: msgspec.Raw | None) -> None:
        self.said.put_nowait((method, msgspec.json.decode(params or b"null")))

    async def call(self, method: str, /, **params: Any) -> Any:
        return await self.connection.call(f"python/{method}", params)

    async def execute(self, code: str, **params: Any) -> Any:
        return (await self.call("execute", code=code, **params))["result"]


@pytest_asyncio.fixture
async def peer(tmp_path: Path) -> AsyncIterator[Peer]:
    provider = build(ProcessIsolation(), Settings(tmp_path / "functions", Limits(), tmp_path))
    told = Peer(tmp_path)
    async with provider.serve() as service:
        told.connection = await connect(service.url, on_notification=told.hear)
        yield told
        await told.connection.close()


async def test_the_whole_result(peer: Peer) -> None:
    answer = await peer.call("execute", code="print('hello')\nresult = [1]")
    assert answer.pop("execution_time") > 0
    assert answer.pop("timestamp").endswith("Z")
    assert answer == {
        "result": [1], "output": "hello\n", "stdout": "hello\n", "stderr": "", "success": True, "exit_code": 0,
    }  # fmt: skip


async def test_without_a_result_what_was_printed(peer: Peer) -> None:
    assert await peer.execute("print('start')\nprint('{\"a\": 1}')") == {"a": 1}
    assert await peer.execute("x = 1") is None


async def test_a_script_may_await_like_a_notebook_and_be_indented_as_a_whole(peer: Peer) -> None:
    waits = """
        import asyncio
        async def two():
            await asyncio.sleep(0.001)
            return 2
        """
    assert await peer.execute(waits + "result = [await two(), 'context' in locals()]\n        ") == [2, True]
    assert await peer.execute("\n" + waits + "return await two()") == 2
    with pytest.raises(TaskError, match="exit code 3"):
        await peer.execute(waits + "raise SystemExit(1 + await two())")
    with pytest.raises(TaskError, match="ZeroDivisionError") as caught:
        await peer.execute(waits + "await two()\n        1 / 0")
    assert caught.value.data is not None
    assert caught.value.data["traceback"].splitlines()[1:3] == ['  File "<code>", line 7, in <module>', "    1 / 0"]
    with pytest.raises(ResultInvalid, match="`await` it"):
        await peer.execute(waits + "result = two()")


async def test_context_inputs_and_dependencies(peer: Peer) -> None:
    meta = {"dependencies": {"load": {"result": {"n": 1}, "output": ""}, "ask": {"response": "hi"}}}
    source = "result = [context['load']['result'], context['ask']['result'], inputs]"
    assert await peer.execute(source, inputs={"city": "Kiel"}, _meta=meta) == [
        {"n": 1}, {"response": "hi"}, {"load": {"n": 1}, "ask": {"response": "hi"}, "city": "Kiel"},
    ]  # fmt: skip
    assert await peer.execute("result = context", context={"a": 1}, _meta=meta) == {"a": 1}


async def test_a_script_file_is_searched(peer: Peer) -> None:
    scripts = peer.folder / "examples/scripts"
    scripts.mkdir(parents=True)
    (scripts / "where.py").write_text("import os\nresult = os.getcwd()")
    answer = await peer.call("execute", file_path="where.py")
    assert (answer["result"], answer["file"]) == (str(scripts), str(scripts / "where.py"))
    assert (
        await peer.connection.call("python/execute", {"file": "scripts/where.py", "working_dir": "examples"})
        is not None
    )
    with pytest.raises(TaskError, match=r"looked at\n  .*/nowhere.py\n  .*/examples/scripts/nowhere.py") as caught:
        await peer.call("execute", file="nowhere.py")
    assert caught.value.data == {"name": "TASK_EXECUTION_FAILED", "retryable": False}


async def test_working_dir(peer: Peer) -> None:
    assert await peer.execute("import os\nresult = os.getcwd()") == str(peer.folder)
    assert await peer.execute("import os\nresult = os.getcwd()", working_dir="/") == "/"
    with pytest.raises(InvalidParams, match="no directory"):
        await peer.execute("1", working_dir="nowhere")


async def test_environment_and_imports(peer: Peer) -> None:
    ours = "[name for name in os.environ if name.startswith(('GLEIT', 'PYTHON'))]"
    source = f"import os\nresult = [os.environ['LEVEL'], {ours}, j.dumps(1)]"
    assert await peer.execute(source, environment={"LEVEL": 3}, imports=["json as j"]) == ["3", [], "1"]


async def test_a_failed_script_fails_the_task(peer: Peer) -> None:
    with pytest.raises(TaskError) as caught:
        await peer.execute("import sys\nprint('before')\nprint('warned', file=sys.stderr)\nraise KeyError('gone')")
    error = caught.value
    assert error.message == "KeyError: 'gone'"
    assert error.data is not None
    assert {name: error.data[name] for name in ("output", "stderr", "exit_code", "error_type", "line")} == {
        "output": "before\n", "stderr": "warned\n", "exit_code": 1, "error_type": "KeyError", "line": 4,
    }  # fmt: skip
    assert error.data["traceback"].splitlines()[1:3] == [
        '  File "<code>", line 4, in <module>',
        "    raise KeyError('gone')",
    ]


async def test_what_a_script_does_to_a_reference_it_does_to_that_one_alone(peer: Peer) -> None:
    source = "first = __ref_0__\nfirst.append(9)\nresult = __ref_0__"
    assert await peer.execute(source, bindings={"__ref_0__": [1, 2]}) == [1, 2]


async def test_errors_of_their_own_kind(peer: Peer) -> None:
    with pytest.raises(ResultInvalid, match="result is of type function"):
        await peer.execute("result = lambda: 1")
    with pytest.raises(ResultInvalid, match=r"result\[0\] is NaN"):
        await peer.execute("result = [float('nan')]")
    with pytest.raises(ParameterError, match="glued"):
        await peer.execute("x = __ref_0__y", bindings={"__ref_0__": 1})
    with pytest.raises(TaskError, match=r"SyntaxError.*line 1, column 5"):
        await peer.execute("x = (")


async def test_what_an_exception_says_is_text_in_bounds(peer: Peer) -> None:
    with pytest.raises(TaskError, match=r"^ValueError: no file \\udce9$") as caught:
        await peer.execute(r"raise ValueError('no file \udce9')")
    assert (caught.value.data or {})["line"] == 1
    with pytest.raises(TaskError, match=r"^ValueError: row x.* characters left out .*x end$") as caught:
        await peer.execute("raise ValueError('row ' + 'x' * 30_000_000 + ' end')")
    assert len(msgspec.json.encode(caught.value.data)) < 100_000


async def test_a_file_that_is_no_text_is_no_failure_of_its_script(peer: Peer) -> None:
    (peer.folder / "early.py").write_bytes(b"name = '\xe9'")
    with pytest.raises(TaskError, match=r"SyntaxError: .* encoding .*early.py") as caught:
        await peer.call("execute", file="early.py")
    assert (caught.value.data or {})["retryable"] is False
    found = await peer.call("validate", file="early.py")
    assert (found["is_valid"], found["errors"][0]["line"]) == (False, 1)
    (peer.folder / "late.py").write_bytes(b"a = 1\nb = 2\nname = '\xe9'")
    assert not (await peer.call("validate", file="late.py"))["is_valid"]


@pytest.mark.parametrize("environment", [{"A=B": "x"}, {"": "x"}, {"A": "x\0"}])
async def test_what_can_be_no_variable(peer: Peer, environment: dict[str, str]) -> None:
    with pytest.raises(InvalidParams, match=r"environment: '.*' cannot be a variable"):
        await peer.execute("result = 1", environment=environment)


async def test_modules_on_the_python_path_of_the_task(peer: Peer) -> None:
    (peer.folder / "mine").mkdir()
    (peer.folder / "mine" / "of_mine.py").write_text("value = 7")
    path = os.pathsep.join(["/nowhere", str(peer.folder / "mine")])
    assert await peer.execute("import of_mine\nresult = of_mine.value", environment={"PYTHONPATH": path}) == 7
    with pytest.raises(TaskError, match="No module named 'of_mine'"):
        await peer.execute("import of_mine")


@pytest.mark.parametrize(
    "params", [{}, {"code": "1", "file": "a.py"}, {"code": 1}, {"code": "1", "timeout": 0}, {"code": "1", "timout": 5}]
)
async def test_wrong_params_are_refused(peer: Peer, params: dict[str, Any]) -> None:
    with pytest.raises(InvalidParams):
        await peer.call("execute", **params)


async def test_functions(peer: Peer) -> None:
    (peer.folder / "functions").mkdir()
    (peer.folder / "functions/tools.py").write_text(
        "async def add(a, b=10):\n    return a + b\ndef fail():\n    raise ValueError('no')\n"
    )
    assert (await peer.call("execute", function="tools.add", args=[1]))["result"] == 11
    assert (await peer.call("execute", function="tools.add", args={"a": 1}, kwargs={"b": 2}))["result"] == 3
    assert (await peer.call("execute", function="math.sqrt", args=[16]))["result"] == 4
    with pytest.raises(TaskError, match="ValueError: no") as caught:
        await peer.call("execute", function="tools.fail")
    assert caught.value.data is not None
    assert "raise ValueError('no')" in caught.value.data["traceback"]
    with pytest.raises(ParameterError, match="did you mean"):
        await peer.call("execute", function="tools.ad")
    assert [one["name"] for one in (await peer.call("list"))["functions"]] == ["tools.add", "tools.fail"]


async def test_registered_functions(peer: Peer) -> None:
    assert await peer.call("register", name="double", **{"lambda": "lambda x: 2 * x"}) == {
        "name": "double", "type": "lambda", "registered": True,
    }  # fmt: skip
    await peer.call("register", name="root", module="math", function="sqrt")
    assert (await peer.call("execute", function="double", args=[21]))["result"] == 42
    listed = await peer.call("list")
    assert [entry["name"] for entry in listed["functions"]] == ["double", "root"]
    assert listed["count"] == 2
    assert (await peer.call("info", name="root"))["module"] == "math"
    with pytest.raises(ParameterError, match=r"there is no function math\.squirt"):
        await peer.call("register", name="bad", module="math", function="squirt")
    with pytest.raises(TaskError, match="one lambda"):
        await peer.call("register", name="bad", **{"lambda": "1"})


async def test_a_pickle_needs_consent(peer: Peer) -> None:
    pickled = base64.b64encode(pickle.dumps(len)).decode()
    with pytest.raises(TaskError, match="refused without allow_pickle"):
        await peer.call("register", name="size", type="serialized", function=pickled)
    await peer.call("register", name="size", type="serialized", function=pickled, allow_pickle=True)
    assert (await peer.call("execute", function="size", args=["abc"]))["result"] == 3


async def test_eval(peer: Peer) -> None:
    assert (await peer.call("eval", expression="a + len(context)", context={"a": 4}, allow_eval=True))["result"] == 5
    assert (await peer.call("eval", expression="__ref_0__ * 2", bindings={"__ref_0__": [1]}))["result"] == [1, 1]
    with pytest.raises(TaskError, match="allow_eval is false"):
        await peer.call("eval", expression="1", allow_eval=False)


async def test_validate(peer: Peer) -> None:
    assert await peer.call("validate", code="return 1") == {"is_valid": True, "errors": []}
    assert await peer.call("validate", code="x = 1\ndef (") == {
        "is_valid": False, "errors": [{"line": 2, "column": 5, "message": "invalid syntax"}],
    }  # fmt: skip
    (peer.folder / "s.py").write_text("ok = 1")
    assert (await peer.call("validate", file="s.py"))["is_valid"]


async def test_info_about_the_provider(peer: Peer) -> None:
    about = await peer.call("info")
    assert about["name"] == "python/v1"
    assert about["python_version"].startswith("3.")
    assert about["limits"]["open_files"] == 256


async def test_a_timeout(peer: Peer) -> None:
    with pytest.raises(TaskTimeout, match="within 2 s") as caught:
        await peer.execute("import time\nprint('so far')\ntime.sleep(60)", timeout=2)
    assert caught.value.data is not None
    assert caught.value.data["output"] == "so far\n"
    with pytest.raises(TaskTimeout):
        await peer.execute("import time\ntime.sleep(60)", _meta={"deadlineSeconds": 0.3})


async def test_output_is_shown_as_it_comes_and_cancelling_stops_the_script(peer: Peer) -> None:
    source = "import os, time\nprint(os.getpid())\ntime.sleep(600)"
    params = {"code": source, "_meta": {"callId": "w/t/1", "progressToken": "w/t/1"}}
    answered = asyncio.get_running_loop().create_future()
    peer.connection.send_request("python/execute", msgspec.json.encode(params), answered.set_result)
    method, said = await peer.said.get()
    assert (method, said["level"], said["progressToken"]) == ("notifications/message", "info", "w/t/1")
    peer.connection.notify("notifications/cancelled", {"callId": "w/t/1", "reason": "enough"})
    reply = await answered
    assert reply.code == TaskCancelled.code
    with pytest.raises(ProcessLookupError):
        os.kill(int(said["data"]), 0)


async def test_untrusted_code_has_a_folder_that_is_removed(peer: Peer) -> None:
    source = "import os\nopen('kept', 'w').write('x')\nresult = [os.getcwd(), os.listdir(), dict(os.environ)]"
    folder, files, environment = await peer.execute(
        source, environment={"A": "b"}, working_dir="/", _meta={"untrusted": True}
    )
    assert (files, environment) == (["kept"], {})
    assert not os.path.exists(folder)  # noqa: ASYNC240 - a look, in a test
    with pytest.raises(TaskError, match="PermissionError: untrusted code may not use"):
        await peer.execute("import socket\nsocket.socket()", _meta={"untrusted": True})


def test_help_teaches() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "gz_provider_python", "--help"], capture_output=True, text=True, check=True
    )
    for word in ("--memory-mib", "--functions DIR", "--capacity", "python/v1"):
        assert word in shown.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="needs pidfd_open")
def test_a_provider_that_is_killed_leaves_nothing_alive() -> None:
    """Its zygote notices, and takes the scripts along."""
    provider = subprocess.Popen([sys.executable, "-c", _RUNS_FOR_EVER], stdout=subprocess.PIPE, text=True)
    assert provider.stdout is not None
    with provider, provider.stdout:
        pids = [int(text) for text in provider.stdout.readline().split()]
        ended = [os.pidfd_open(pid) for pid in pids]
        provider.kill()
    for descriptor in ended:
        assert select.select([descriptor], [], [], 20)[0]
        os.close(descriptor)
    assert len(pids) == 3


_RUNS_FOR_EVER = """
import asyncio
from gz_provider_python.processes import ProcessIsolation
from gz_provider_python.wire import Job, Limits

SCRIPT = '''
import os, subprocess, sys, time
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(os.getppid(), os.getpid(), other.pid)
time.sleep(600)
'''

async def main():
    job = Job(kind="execute", limits=Limits(), working_dir="/", code=SCRIPT)
    await ProcessIsolation().run(job, timeout_seconds=600, on_output=lambda _, text: print(text, flush=True))

asyncio.run(main())
"""


def test_the_process_serves_until_sigterm(tmp_path: Path) -> None:
    code = (
        "import os, subprocess, sys\n"
        "read, write = os.pipe()\n"
        "os.environ['GLEITZEIT_READY_FD'] = str(write)\n"
        "process = subprocess.Popen([sys.executable, '-m', 'gz_provider_python'], pass_fds=[write])\n"
        "os.close(write)\n"
        "print(os.read(read, 1000).decode())\n"
        "process.terminate()\n"
        "sys.exit(process.wait(20))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert msgspec.json.decode(ended.stdout)["url"].startswith("ws://127.0.0.1:")
    assert signal.SIGTERM.name in ended.stderr

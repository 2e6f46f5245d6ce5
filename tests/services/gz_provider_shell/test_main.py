"""shell/v1 with real programs, over a real socket."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gleitzeit.errors import InvalidParams, TaskCancelled, TaskError, TaskTimeout
from gleitzeit.schemas import builtin
from gleitzeit.transport import Connection, connect
from gz_provider_shell.main import build
from gz_provider_shell.methods import Settings


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[Connection]:
    async with build(Settings(tmp_path)).serve() as service:
        connection = await connect(service.url)
        yield connection
        await connection.close()


def test_it_serves_all_of_shell_v1(tmp_path: Path) -> None:
    assert sorted(build(Settings(tmp_path)).methods) == builtin().names("shell/v1")


@pytest.mark.parametrize(
    ("params", "output"),
    [
        ({"command": "echo hello world"}, "hello world"),
        ({"command": "echo 'hello  world'"}, "hello  world"),
        ({"command": ["echo", "a b", 3]}, "a b 3"),
        ({"command": 'echo a \\\n  \'b | c\' ";" \\> "\\""'}, 'a b | c ; > "'),
        ({"command": "echo", "args": ["$HOME", "*", "; ls"]}, "$HOME * ; ls"),
        ({"command": "echo '[1, 2]'"}, [1, 2]),
        ({"command": "echo '{\"a\": 1}'"}, {"a": 1}),
        ({"command": "echo 42"}, "42"),
        ({"command": "cat", "input": "what it reads"}, "what it reads"),
        ({"command": "echo $A | tr a-z A-Z", "shell": True, "env": {"A": "x; y"}}, "X; Y"),
        ({"command": "true"}, ""),
        ({"command": "echo hidden", "capture_output": False}, None),
    ],
)
async def test_what_a_program_prints(connection: Connection, params: dict[str, Any], output: Any) -> None:
    result = await connection.call("shell/exec", params)
    assert result["output"] == result["result"] == output
    assert (result["exit_code"], result["success"]) == (0, True)


async def test_it_starts_where_it_is_told(connection: Connection, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    assert (await connection.call("shell/exec", {"command": "pwd"}))["output"] == str(tmp_path)
    inner = await connection.call("shell/exec", {"command": "pwd", "working_dir": "inner"})
    assert inner["output"] == str(tmp_path / "inner")
    with pytest.raises(InvalidParams, match="no directory"):
        await connection.call("shell/exec", {"command": "pwd", "working_dir": "nowhere"})


async def test_our_environment_stays_with_us(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "s3cret")
    result = await connection.call("shell/exec", {"command": "env", "env": {"MINE": "1"}})
    assert "MINE=1" in result["stdout"]
    assert "PATH=" in result["stdout"]
    assert "s3cret" not in result["stdout"]


async def test_an_exit_code_fails_the_task_with_what_was_said(connection: Connection) -> None:
    params = {"command": "echo some; echo first >&2; echo last words >&2; exit 3", "shell": True}
    with pytest.raises(TaskError, match="exited with status 3: last words") as caught:
        await connection.call("shell/exec", params)
    assert caught.value.data is not None
    assert (caught.value.data["exit_code"], caught.value.data["stdout"]) == (3, "some\n")
    assert caught.value.data["stderr"] == "first\nlast words\n"
    expected = await connection.call("shell/exec", {**params, "expected_exit_codes": [0, 3]})
    assert expected["exit_code"] == 3


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"command": "ls | wc"}, "'|' means something to a shell only"),
        ({"command": "ls > file"}, "'>' means something to a shell only"),
        ({"command": "ls >file"}, "'>file' means something to a shell only"),
        ({"command": "ls 2>/dev/null"}, "'2>/dev/null' means something to a shell only"),
        ({"command": "echo a; echo b"}, "'a;' means something to a shell only"),
        ({"command": "echo 'open"}, "cannot be split"),
        ({"command": "ls", "env": {"": "x"}}, "cannot be a variable"),
        ({"command": "  "}, "empty"),
        ({"command": ["ls"], "shell": True}, "one text"),
        ({"command": ["ls", "a\0b"]}, "zero byte"),
        ({"command": "ls", "env": {"A=B": "x"}}, "cannot be a variable"),
    ],
)
async def test_what_is_no_command(connection: Connection, params: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParams, match=message.replace("|", r"\|")):
        await connection.call("shell/exec", params)


@pytest.mark.parametrize("command", ["no-such-program", "/etc/passwd", "/"])
async def test_what_cannot_be_run(connection: Connection, command: str) -> None:
    with pytest.raises(TaskError, match="cannot be run") as caught:
        await connection.call("shell/exec", {"command": command})
    assert caught.value.data is not None
    assert caught.value.data["retryable"] is False


async def test_a_timeout_takes_everything_along(connection: Connection, tmp_path: Path) -> None:
    command = "trap '' TERM; sleep 60 & echo $! > pid; echo began; wait"
    with pytest.raises(TaskTimeout, match=r"within 0\.3 s") as caught:
        await connection.call("shell/exec", {"command": command, "shell": True, "timeout": 0.3})
    assert caught.value.data is not None
    assert caught.value.data["stdout"] == "began\n"
    await gone(int((tmp_path / "pid").read_text()))


async def test_what_stays_behind_is_killed(connection: Connection, tmp_path: Path) -> None:
    result = await connection.call("shell/exec", {"command": "sleep 60 & echo $!", "shell": True})
    await gone(int(result["stdout"]))


async def test_a_cancelled_call_ends_its_program(connection: Connection, tmp_path: Path) -> None:
    params = {"command": "echo $$ > pid; sleep 60", "shell": True, "_meta": {"callId": "w/t/1"}}
    call = asyncio.create_task(connection.call("shell/exec", params))
    await until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    call.cancel()
    with pytest.raises((asyncio.CancelledError, TaskCancelled)):
        await call
    await gone(int((tmp_path / "pid").read_text()))


async def gone(pid: int) -> None:
    await until(lambda: not _lives(pid))


async def until(what: Callable[[], Any]) -> None:
    """Of processes that do not tell us."""
    async with asyncio.timeout(30):
        while not what():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_much_output_is_bounded(connection: Connection) -> None:
    result = await connection.call("shell/exec", {"command": "head -c 5000000 /dev/zero | tr '\\0' x", "shell": True})
    assert 1_000_000 < len(result["stdout"]) < 1_100_000
    assert "bytes left out" in result["stdout"]


async def test_a_pipe(connection: Connection) -> None:
    commands = ["printf 'b\\na\\nb\\n'", ["sort", "-u"], "wc -l"]
    result = await connection.call("shell/pipe", {"commands": commands})
    assert result["output"].strip() == "2"
    assert result["exit_codes"] == [0, 0, 0]
    early = await connection.call("shell/pipe", {"commands": ["yes", "head -n 1"]})
    assert early["output"] == "y", "who stops reading is no failure of who writes"


async def test_a_pipe_fails_with_each_of_its_programs(connection: Connection) -> None:
    with pytest.raises(TaskError, match=r"^false exited with status 1"):
        await connection.call("shell/pipe", {"commands": ["false", "cat"]})
    with pytest.raises(TaskError, match="no-such-program"):
        await connection.call("shell/pipe", {"commands": ["yes", "no-such-program"]})


async def test_a_batch(connection: Connection, tmp_path: Path) -> None:
    commands = ["echo a", "false", "touch done"]
    with pytest.raises(TaskError, match=r"^false exited"):
        await connection.call("shell/batch", {"commands": commands})
    assert not (tmp_path / "done").exists()
    result = await connection.call("shell/batch", {"commands": commands, "stop_on_error": False})
    assert (result["successful"], result["failed"], result["success"]) == (2, 1, False)
    assert [one["exit_code"] for one in result["results"]] == [0, 1, 0]
    assert result["result"] == ["a", "", ""]


async def test_a_batch_goes_on_after_what_cannot_be_run_or_does_not_end(connection: Connection) -> None:
    commands = ["no-such-program", ["sh", "-c", "echo begun; sleep 60"], "echo last"]
    params = {"commands": commands, "stop_on_error": False, "timeout": 0.5}
    result = await connection.call("shell/batch", params)
    assert [one["exit_code"] for one in result["results"]] == [127, 124, 0]
    assert result["result"] == ["", "begun\n", "last"]
    assert "cannot be run" in result["results"][0]["error"]
    assert "did not end within 0.5 s" in result["results"][1]["error"]
    assert (result["successful"], result["failed"], result["success"]) == (1, 2, False)


@pytest.mark.parametrize("after", ["exit 3", "sleep 60"])
async def test_what_is_not_to_be_kept_is_in_no_error(connection: Connection, after: str) -> None:
    command = ["sh", "-c", f"echo s3cret; echo s3cret >&2; {after}"]
    with pytest.raises(TaskError) as caught:
        await connection.call("shell/exec", {"command": command, "capture_output": False, "timeout": 0.5})
    assert (caught.value.data or {})["stdout"] == (caught.value.data or {})["stderr"] == ""
    assert not caught.value.message.endswith("s3cret")


async def test_only_some_programs(tmp_path: Path) -> None:
    async with build(Settings(tmp_path, frozenset({"echo"}))).serve() as service:
        connection = await connect(service.url)
        assert (await connection.call("shell/exec", {"command": "echo a"}))["output"] == "a"
        for params in ({"command": "ls"}, {"command": "echo a", "shell": True}, {"command": "/bin/echo a"}):
            with pytest.raises(TaskError, match="runs only echo"):
                await connection.call("shell/exec", params)
        await connection.close()


async def test_no_descriptor_is_left_open(connection: Connection) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        await connection.call("shell/pipe", {"commands": ["echo a", "cat"]})
        with pytest.raises(TaskError):
            await connection.call("shell/pipe", {"commands": ["echo a", "no-such-program", "cat"]})
    assert len(os.listdir("/proc/self/fd")) <= before + 1

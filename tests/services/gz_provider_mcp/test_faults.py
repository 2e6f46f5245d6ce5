"""Servers that die, hang, flood, print garbage or answer with 50 MB: the call has an end, and others do not notice."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from mcp_servers import eventually, nasty_server

from gleitzeit.errors import (
    CallUnknown,
    GleitzeitError,
    PayloadTooLarge,
    ProviderBusy,
    TaskCancelled,
    TaskError,
    TaskTimeout,
)

Serve = Callable[..., AbstractAsyncContextManager[Any]]


async def failure(call: Any) -> GleitzeitError:
    with pytest.raises(GleitzeitError) as raised:
        await call
    return raised.value


async def test_one_process_serves_all_calls(serve: Serve) -> None:
    async with serve({"nasty": nasty_server()}) as provided:
        await provided.ready()
        said = [await provided.tool("nasty.count") for _ in range(5)]
        pids, counts = zip(*(one["response"].split() for one in said), strict=True)
        assert (len(set(pids)), counts) == (1, ("1", "2", "3", "4", "5"))


async def test_a_server_that_dies_under_a_call(serve: Serve) -> None:
    """The call is reported as lost, with a code by which the engine's rules for lost calls hold; the next one waits for
    the server to be there again."""
    async with serve({"nasty": nasty_server()}) as provided:
        await provided.ready()
        hanging = asyncio.ensure_future(failure(provided.tool("nasty.hang")))
        lost = await failure(provided.tool("nasty.die"))
        assert isinstance(lost, TaskCancelled)
        assert "exited with status 7" in lost.message
        assert "may have had its effect" in lost.message
        assert lost.data is not None
        assert lost.data["name"] == "MCP_SERVER_LOST"
        assert lost.data["lost"] == "MCP server 'nasty' is gone (it exited with status 7)"
        assert lost.data["retryable"] is True
        assert "may have had its effect" in (await hanging).message, "all that were under way are lost"
        assert (await provided.tool("nasty.count"))["response"].endswith(" 1"), "a new process"
        methods = await provided.methods()
        assert methods["mcp/tool.nasty.die"]["x-idempotent"] is False, "MCP's default"
        assert methods["mcp/tool.nasty.die-once"]["x-idempotent"] is True, "it says that it only reads"


async def test_a_server_that_is_killed_under_a_call(serve: Serve) -> None:
    async with serve({"nasty": nasty_server()}) as provided:
        await provided.ready()
        pid = int((await provided.tool("nasty.count"))["response"].split()[0])
        hanging = asyncio.ensure_future(failure(provided.tool("nasty.hang")))
        await provided.tool("nasty.count")
        os.kill(pid, signal.SIGKILL)
        assert "was killed by SIGKILL" in (await hanging).message
        about = await provided.call("mcp/server_info", {"server": "nasty"})
        assert about["restarts"] == 1
        assert about["pid"] not in (None, pid)


async def test_garbage_on_stdout_is_set_aside(serve: Serve) -> None:
    async with serve({"nasty": nasty_server()}) as provided:
        await provided.ready()
        assert (await provided.tool("nasty.garbage"))["response"] == "after garbage"
        assert (await provided.tool("nasty.count"))["response"].endswith(" 2"), "the server lives on"


async def test_fifty_megabytes_fail_their_own_call_only(serve: Serve) -> None:
    async with serve({"nasty": nasty_server(), "other": nasty_server()}) as provided:
        await provided.ready()
        large = asyncio.ensure_future(failure(provided.tool("nasty.large", x=50)))
        assert (await provided.tool("other.count"))["response"].endswith(" 1")
        error = await large
        assert isinstance(error, PayloadTooLarge)
        assert (await provided.tool("nasty.count"))["response"].endswith(" 2"), "the server lives on"
        five = await provided.tool("nasty.large", x=5)
        assert len(five["response"]) == 5 << 20, "what fits comes whole"


async def test_a_flood_does_not_drown_others(serve: Serve) -> None:
    async with serve({"nasty": nasty_server(), "other": nasty_server()}) as provided:
        await provided.ready()
        flooding = asyncio.ensure_future(provided.tool("nasty.flood", x=1))
        answered = 0
        while not flooding.done():
            await provided.tool("other.count")
            answered += 1
        assert (await flooding)["response"] == "flooded"
        assert answered > 3, "while it lasts"
        heard = [method for method, _ in provided.said if method == "notifications/message"]
        assert len(heard) < 2_000, "and those who watch are not flooded either"


async def test_a_server_that_hangs(serve: Serve, tmp_path: Path) -> None:
    """Its patience is the time without a sign of life: progress renews it. The server is told that nobody waits."""
    async with serve({"nasty": nasty_server() | {"idle_timeout": 0.8}, "other": nasty_server()}) as provided:
        await provided.ready()
        late = await failure(provided.tool("nasty.hang"))
        assert isinstance(late, TaskTimeout)
        assert "said nothing for 0.8 s" in late.message
        assert (await provided.tool("nasty.slow", x=12))["response"] == "slow", "1.2 s, with progress"
        log = tmp_path / "state" / "logs" / "mcp-nasty.log"
        await eventually(lambda: log.exists() and "cancelled" in log.read_text())
        assert (await provided.tool("other.count"))["response"]


async def test_cancellation_reaches_the_server(serve: Serve, tmp_path: Path) -> None:
    async with serve({"nasty": nasty_server()}) as provided:
        await provided.ready()
        hanging = asyncio.ensure_future(provided.tool("nasty.hang"))
        await provided.tool("nasty.count")
        hanging.cancel()
        log = tmp_path / "state" / "logs" / "mcp-nasty.log"
        await eventually(lambda: log.exists() and "cancelled" in log.read_text())


async def test_a_server_that_reads_nothing_is_made_to_end(serve: Serve) -> None:
    async with serve({"nasty": nasty_server() | {"idle_timeout": 0.2}}) as provided:
        await provided.ready()
        pid = int((await provided.tool("nasty.count"))["response"].split()[0])
        assert isinstance(await failure(provided.tool("nasty.deaf")), TaskTimeout)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_what_it_asks_is_answered_or_refused(serve: Serve, tmp_path: Path) -> None:
    async with serve({"nasty": nasty_server() | {"roots": [str(tmp_path)]}}) as provided:
        await provided.ready()
        assert tmp_path.as_uri() in (await provided.tool("nasty.roots"))["response"]
        assert "no model behind this client" in (await provided.tool("nasty.sample"))["response"]


async def test_a_tool_that_says_that_it_failed(serve: Serve) -> None:
    async with serve({"nasty": nasty_server()}) as provided:
        await provided.ready()
        error = await failure(provided.tool("nasty.fail"))
        assert isinstance(error, TaskError)
        assert error.message == "it went wrong"


async def test_its_log_reaches_those_who_watch(serve: Serve) -> None:
    async with serve({"nasty": nasty_server()}) as provided:
        await provided.ready()
        await provided.call("mcp/tool.nasty.log", {"_meta": {"progressToken": "t"}})
        [line] = [params for method, params in provided.said if method == "notifications/message"]
        assert (line["level"], line["data"], line["progressToken"]) == ("warning", {"line": 1}, "t")


async def test_one_that_hangs_takes_no_places_from_others(serve: Serve) -> None:
    """Beyond its own limit a call is refused as busy, which costs the task nothing; it may be sent again."""
    async with serve({"nasty": nasty_server() | {"concurrency": 2}, "other": nasty_server()}) as provided:
        await provided.ready()
        hanging = [asyncio.ensure_future(failure(provided.tool("nasty.hang"))) for _ in range(2)]
        await provided.call("mcp/ping")
        for _ in range(2):
            again = {"_meta": {"callId": "one"}}
            busy = await failure(provided.call("mcp/tool.nasty.count", again))
            assert isinstance(busy, ProviderBusy)
        assert (await provided.tool("other.count"))["response"]
        assert isinstance(await failure(provided.call("call.attach", {"callId": "one"})), CallUnknown)
        for call in hanging:
            call.cancel()
        await eventually(lambda: _runs_again(provided))


async def _runs_again(provided: Any) -> bool:
    try:
        return bool(await provided.tool("nasty.count"))
    except ProviderBusy:
        return False


async def test_odd_tools_and_too_many(serve: Serve) -> None:
    servers = {"heavy": nasty_server("heavy"), "odd": nasty_server("odd"), "my server/1": nasty_server()}
    async with serve(servers) as provided:
        answer = (await provided.call("mcp/ping"))["servers"]
        assert "larger than 1 MiB" in answer["heavy"]
        methods = await provided.methods()
        assert {"mcp/tool.odd.with space", "mcp/tool.odd.a/b", "mcp/tool.odd.a.b.c", "mcp/tool.odd.ü"} <= set(methods)
        assert methods["mcp/tool.odd.bad schema"]["x-params-schema"] == {}, (
            "nobody can check against it: all is allowed"
        )
        assert (await provided.tool("my server/1.count"))["response"]


async def test_programs_that_are_no_servers(serve: Serve) -> None:
    servers = {
        "missing": {"command": "/nonexistent/program"},
        "false": {"command": "sh", "args": ["-c", "echo no such luck >&2; exit 3"]},
        "other": nasty_server(),
    }
    async with serve(servers) as provided:
        answer = (await provided.call("mcp/ping"))["servers"]
        assert "No such file or directory: /nonexistent/program" in answer["missing"]
        assert "exited with status 3 at its start:\nno such luck" in answer["false"]
        assert isinstance(answer["other"], float)
        error = await failure(provided.call("mcp/tools/call", {"server": "false", "name": "x"}))
        assert "cannot be had" in error.message

"""Our small server, by the official SDK as its client, in both eras."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters, stdio_client

from gleitzeit.schemas import builtin
from gz_mcp_builtin.main import TOOLS, BuiltinTools


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_its_tools(mode: str) -> None:
    program = StdioServerParameters(command=sys.executable, args=["-m", "gz_mcp_builtin"])
    async with Client(stdio_client(program), mode=mode) as client:
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(listed) == {"echo", "add", "multiply", "concat"}
        assert listed["add"].output_schema is not None
        sum_of_two = await client.call_tool("add", {"a": 25, "b": 17})
        assert sum_of_two.structured_content == {"result": 42, "response": "42", "calculation": "25 + 17 = 42"}
        wrong = await client.call_tool("add", {"a": "x"})
        assert wrong.is_error
        assert "'b' is missing" in wrong.content[0].text


def test_what_no_loop_can_wait_for_is_read_and_written_too(tmp_path: Path) -> None:
    """`… </dev/null`, and `… >file`."""
    program = [sys.executable, "-m", "gz_mcp_builtin"]
    with (tmp_path / "answers").open("wb") as answers:
        idle = subprocess.run(program, stdin=subprocess.DEVNULL, stdout=answers, stderr=subprocess.PIPE, timeout=60)
        assert (idle.returncode, idle.stderr) == (0, b"")
        server = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=answers)
        assert server.stdin is not None
        server.stdin.write(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
        server.stdin.flush()
        deadline = time.monotonic() + 30
        while not (tmp_path / "answers").read_bytes():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        server.stdin.close()
        assert server.wait(timeout=30) == 0
    assert json.loads((tmp_path / "answers").read_bytes()) == {"jsonrpc": "2.0", "id": 1, "result": {}}


def test_what_they_answer_is_what_their_schemas_say() -> None:
    given = {
        "echo": {"message": "é"},
        "add": {"a": 1, "b": 2.5},
        "multiply": {"a": 2, "b": 3},
        "concat": {"strings": ["a", 1, True], "separator": "-"},
    }
    for name, function in TOOLS.items():
        method = builtin().methods[f"mcp/tool.{name}"]
        assert method.check_params(given[name]) == []
        assert method.check_result(function(**given[name])) == []
    assert TOOLS["concat"](["a", 1, True], "-")["joined"] == "a-1-true"


async def test_they_are_described() -> None:
    assert [tool["name"] for tool in await BuiltinTools().tools()] == list(TOOLS)

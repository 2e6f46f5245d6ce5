"""Our small server, by the official SDK as its client, in both eras."""

import sys

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

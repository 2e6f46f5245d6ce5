"""What is said of a tool that is not there."""

import pytest

from gleitzeit.client.tools import refuse
from gleitzeit.process.absent import NoTool

KNOWN = frozenset({"mcp/tool.a.read", "mcp/tool.b.read", "mcp/tool.b.write", "mcp/tool.write", "mcp/tools/list"})


def test_a_tool_that_several_servers_have_wants_the_name_of_one() -> None:
    with pytest.raises(
        NoTool, match=r"several MCP servers have: say which, as in mcp/tool\.a\.read or mcp/tool\.b\.read$"
    ):
        refuse("mcp/tool.read", KNOWN, ["MCP server 'c' is starting"], starting=True)


def test_a_tool_that_nobody_has_is_told_with_what_was_meant_and_what_keeps_others_away() -> None:
    problems = ["MCP server 'c' cannot be had: no such file", "MCP server 'd' is starting"]
    refuse("mcp/tool.a.raed", KNOWN, problems, starting=True)
    with pytest.raises(
        NoTool, match=r"no MCP server has such a tool; did you mean mcp/tool\.a\.read\?\nMCP server 'c'"
    ):
        refuse("mcp/tool.a.raed", KNOWN, problems, starting=False)
    with pytest.raises(NoTool, match=r"calls mcp/tool\.c\.read, and MCP server 'c' cannot be had"):
        refuse("mcp/tool.c.read", KNOWN, problems, starting=True)

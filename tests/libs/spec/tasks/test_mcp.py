"""mcp/v1 in documents: every spelling, what it comes to, and what is said of tools that nobody knows."""

from typing import Any

import msgspec
import pytest

from gleitzeit.model.definition import TaskDefinition
from gleitzeit.schemas import Catalogue, builtin, method_schema
from gleitzeit.spec.check import check
from gleitzeit.spec.loading.load import load_text
from gleitzeit.spec.problems import Problem, located

READ = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
WRAPS = {"type": "object", "properties": {"arguments": {"type": "object"}}}


def tool(name: str, params: dict[str, Any], *aliases: str) -> Any:
    return method_schema(f"mcp/tool.{name}", {"params": params, "x-aliases": list(aliases)})


CATALOGUE = builtin().with_methods(
    [
        tool("fs.read", READ, "mcp/tool.read"),
        tool("fs.echo", {}),
        tool("every.echo", {}),
        tool("every.run", WRAPS),
        tool("fs.twin", {}),
        tool("every.twin", {}),
    ]
)


def read(task: dict[str, Any], catalogue: Catalogue = CATALOGUE) -> tuple[TaskDefinition | None, list[Problem]]:
    found = check({"name": "n", "tasks": [{"id": "t", **task}]}, catalogue)
    return (None if found.definition is None else found.definition.tasks[0]), list(found.problems)


@pytest.mark.parametrize(
    ("task", "method", "params"),
    [
        ({"method": "mcp/tool.add", "params": {"a": 1, "b": 2}}, "mcp/tool.add", {"a": 1, "b": 2}),
        ({"method": "mcp/tool.builtin.add", "params": {"a": 1, "b": 2}}, "mcp/tool.add", {"a": 1, "b": 2}),
        ({"protocol": "mcp/v1", "method": "tool.add", "params": {"a": 1, "b": 2}}, "mcp/tool.add", {"a": 1, "b": 2}),
        ({"protocol": "mcp", "method": "tool.add", "params": {"a": 1, "b": 2}}, "mcp/tool.add", {"a": 1, "b": 2}),
        ({"type": "mcp", "params": {"tool": "add", "a": 25, "b": 17}}, "mcp/tool.add", {"a": 25, "b": 17}),
        ({"provider": "mcp", "params": {"tool": "add", "a": 1, "b": 2}}, "mcp/tool.add", {"a": 1, "b": 2}),
        ({"type": "mcp", "params": {"tool": "read", "server": "fs", "path": "x"}}, "mcp/tool.fs.read", {"path": "x"}),
        ({"type": "mcp", "method": "tool.fs.read", "params": {"path": "x"}}, "mcp/tool.fs.read", {"path": "x"}),
        ({"method": "mcp/tool.fs.read", "params": {"path": "x"}}, "mcp/tool.fs.read", {"path": "x"}),
        ({"method": "mcp/tool.read", "params": {"path": "x"}}, "mcp/tool.fs.read", {"path": "x"}),
        ({"method": "mcp/tool.fs.read", "params": {"arguments": {"path": "x"}}}, "mcp/tool.fs.read", {"path": "x"}),
        ({"method": "mcp/tool.every.run", "params": {"arguments": {"a": 1}}}, "mcp/tool.every.run",
         {"arguments": {"a": 1}}),
        ({"protocol": "mcp/fs/v1", "method": "read", "params": {"path": "x"}}, "mcp/tool.fs.read", {"path": "x"}),
        ({"protocol": "mcp/fs", "method": "tool.read", "params": {"path": "x"}}, "mcp/tool.fs.read", {"path": "x"}),
        ({"protocol": "mcp/fs/v1", "method": "tool.fs.read", "params": {"path": "x"}}, "mcp/tool.fs.read",
         {"path": "x"}),
        ({"protocol": "mcp/fs/v1", "method": "tools/call", "params": {"name": "read", "arguments": {"path": "x"}}},
         "mcp/tool.fs.read", {"path": "x"}),
        ({"protocol": "mcp/v1", "method": "tools/call", "params": {"name": "fs.read", "arguments": {"path": "x"}}},
         "mcp/tool.fs.read", {"path": "x"}),
        ({"method": "mcp/tools/call", "params": {"server": "fs", "name": "read", "arguments": {"path": "x"}}},
         "mcp/tool.fs.read", {"path": "x"}),
        ({"method": "mcp/tools/list"}, "mcp/tools/list", {}),
        ({"protocol": "mcp/v1", "method": "tools/list"}, "mcp/tools/list", {}),
        ({"protocol": "mcp/v1", "method": "list_tools"}, "mcp/tools/list", {}),
        ({"protocol": "mcp/fs/v1", "method": "tools/list"}, "mcp/tools/list", {"server": "fs"}),
        ({"protocol": "mcp/v1", "method": "resources/read", "params": {"uri": "a://b"}}, "mcp/resources/read",
         {"uri": "a://b"}),
        ({"protocol": "mcp/fs/v1", "method": "resource.file:///x.txt"}, "mcp/resources/read",
         {"server": "fs", "uri": "file:///x.txt"}),
        ({"method": "mcp/resource.demo://a/b"}, "mcp/resources/read", {"uri": "demo://a/b"}),
        ({"protocol": "mcp/v1", "method": "resources/list"}, "mcp/resources/list", {}),
        ({"protocol": "mcp/v1", "method": "prompts/list"}, "mcp/prompts/list", {}),
        ({"method": "mcp/prompts/get", "params": {"name": "p"}}, "mcp/prompts/get", {"name": "p"}),
        ({"method": "mcp/prompt.greet", "params": {"who": "Ada"}}, "mcp/prompts/get",
         {"name": "greet", "arguments": {"who": "Ada"}}),
        ({"method": "mcp/prompt.greet", "params": {"arguments": {"who": "Ada"}, "server": "every"}}, "mcp/prompts/get",
         {"name": "greet", "arguments": {"who": "Ada"}, "server": "every"}),
        ({"method": "mcp/server_info", "params": {"server": "fs"}}, "mcp/server_info", {"server": "fs"}),
        ({"protocol": "mcp/fs/v1", "method": "initialize"}, "mcp/server_info", {"server": "fs"}),
        ({"protocol": "mcp/v1", "method": "servers"}, "mcp/servers", {}),
        ({"method": "mcp/ping"}, "mcp/ping", {}),
        ({"protocol": "mcp/v1", "method": "ping"}, "mcp/ping", {}),
    ],
)  # fmt: skip
def test_spellings(task: dict[str, Any], method: str, params: dict[str, Any]) -> None:
    found, problems = read(task)
    assert problems == []
    assert found is not None
    given = msgspec.json.decode(found.params)
    assert (found.method, given) == (method, params)


def test_a_name_that_only_the_run_knows_stays_a_call_by_name() -> None:
    task = {"method": "mcp/tools/call", "params": {"name": "${parameters.x}", "arguments": {"path": 1}}}
    found = check({"name": "n", "parameters": {"x": "fs.read"}, "tasks": [{"id": "t", **task}]}, CATALOGUE)
    assert found.definition is not None
    assert found.definition.tasks[0].method == "mcp/tools/call"


def test_params_of_known_tools_are_checked_wherever_they_stand() -> None:
    text = """name: n
tasks:
  - id: t
    method: mcp/tools/call
    params:
      name: fs.read
      arguments: {path: 7}
"""
    document = load_text(text, name="flow.yaml")
    [problem] = located(check(document.value, CATALOGUE).problems, document)
    assert (problem.severity, problem.line) == ("error", 7)
    assert problem.message == "'path' must be text, not 7"


@pytest.mark.parametrize(
    ("method", "severity", "words", "suggestion"),
    [
        ("mcp/tool.fs.raed", "error", "the MCP server 'fs' has no tool 'raed'", "mcp/tool.fs.read"),
        ("mcp/tool.twin", "error", "several MCP servers have a tool 'twin': mcp/tool.every.twin, mcp/tool.fs.twin", ""),
        ("mcp/tool.github.create_issue", "warning", "no MCP server that is known has a tool", ""),
        ("mcp/tool.ad", "warning", "no MCP server that is known has a tool 'ad'", "mcp/tool.add"),
        ("mcp/tools/lsit", "error", "protocol 'mcp/v1' has no method 'mcp/tools/lsit'", "mcp/tools/list"),
    ],
)
def test_what_nobody_described(method: str, severity: str, words: str, suggestion: str) -> None:
    _, [problem] = read({"method": method})
    assert problem.severity == severity
    assert words in problem.message
    assert problem.suggestion == suggestion


def test_a_tool_of_our_own_is_meant_by_its_bare_name() -> None:
    """Whatever servers have one of that name: documents of earlier versions mean ours."""
    found, problems = read({"method": "mcp/tool.echo", "params": {"message": "hi"}})
    assert problems == []
    assert found is not None
    assert found.method == "mcp/tool.echo"

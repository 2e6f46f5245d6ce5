"""The configuration that people have already, of whichever program."""

from pathlib import Path
from typing import Any

import pytest

from gleitzeit.errors import ConfigurationError
from gleitzeit.mcp.places import configured, modified
from gleitzeit.mcp.servers import Configured, McpServer, Variables, parse_json, read_servers, without_comments

ENVIRON = {"TOKEN": "t0ken", "EMPTY": "", "MCP_INPUT_API_KEY": "from the environment"}


def variables(**environ: str) -> Variables:
    return Variables({**ENVIRON, **environ}, home=Path("/home/ada"), folder=Path("/work"))


def read(document: dict[str, Any]) -> Configured:
    return read_servers(document, "a file", variables())


def one(entry: dict[str, Any]) -> McpServer:
    found = read({"mcpServers": {"s": entry}})
    assert found.problems == ()
    return found.servers[0]


def problem(entry: Any, name: str = "s") -> str:
    found = read({"mcpServers": {name: entry}})
    assert found.servers == ()
    [sentence] = found.problems
    return sentence


@pytest.mark.parametrize(
    "document",
    [
        {"mcpServers": {"fs": {"command": "npx", "args": ["-y", "x"]}}},
        {"servers": {"fs": {"type": "stdio", "command": "npx", "args": ["-y", "x"]}}},
        {"mcp": {"servers": {"fs": {"command": "npx", "args": ["-y", "x"]}}}},
        {"fs": {"command": "npx", "args": ["-y", "x"]}},
        {"servers": [{"name": "fs", "command": "npx", "args": ["-y", "x"]}]},
        {"servers": [{"provider_id": "fs", "command": ["npx", "-y", "x"], "models": [], "capabilities": []}]},
    ],
)
def test_every_program_s_form(document: dict[str, Any]) -> None:
    found = read(document)
    assert (found.problems, found.warnings) == ((), ())
    [server] = found.servers
    assert (server.name, server.kind, server.command) == ("fs", "stdio", ("npx", "-y", "x"))
    assert server.shown == "npx -y x"


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        ({"url": "https://host/mcp"}, "http"),
        ({"type": "http", "url": "https://host/mcp"}, "http"),
        ({"type": "streamable-http", "url": "https://host/mcp"}, "http"),
        ({"type": "sse", "url": "https://host/sse"}, "sse"),
        ({"serverUrl": "https://host/mcp"}, "http"),
        ({"url": "ws://host/mcp"}, "websocket"),
        ({"type": "ws", "url": "wss://host/mcp"}, "websocket"),
    ],
)
def test_servers_elsewhere(entry: dict[str, Any], kind: str) -> None:
    assert one(entry).kind == kind


def test_variables() -> None:
    server = one(
        {
            "command": "${userHome}/bin/x",
            "args": ["${TOKEN}", "${env:TOKEN}", "${MISSING:-else}", "${EMPTY}", "$5", "${not a name}"],
            "env": {"A": "${TOKEN}", "N": 5, "B": True, "NONE": None},
            "cwd": "~",
        }
    )
    assert server.command == ("/home/ada/bin/x", "t0ken", "t0ken", "else", "", "$5", "${not a name}")
    assert server.env == {"A": "t0ken", "N": "5", "B": "true"}
    assert "MISSING is not set" in problem({"command": "x", "args": ["${MISSING}"]})


def test_inputs_of_an_editor() -> None:
    document = {
        "inputs": [{"id": "api-key", "type": "promptString"}, {"id": "place", "default": "Graz"}],
        "servers": {"a": {"command": "x", "env": {"KEY": "${input:api-key}", "PLACE": "${input:place}"}},
                    "b": {"command": "x", "env": {"KEY": "${input:other}"}}},
    }  # fmt: skip
    found = read(document)
    assert found.servers[0].env == {"KEY": "from the environment", "PLACE": "Graz"}
    assert "set MCP_INPUT_OTHER" in found.problems[0]


def test_inputs_of_one_file_are_not_those_of_the_next() -> None:
    shared = variables()
    first = {"inputs": [{"id": "place", "default": "Graz"}], "servers": {}}
    second = {"servers": {"a": {"command": "x", "env": {"PLACE": "${input:place}"}}}}
    read_servers(first, "first", shared)
    assert "set MCP_INPUT_PLACE" in read_servers(second, "second", shared).problems[0]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({}, "neither a `command` nor a `url`"),
        (7, "expected an object"),
        ({"command": 7}, "`command` must be a text"),
        ({"command": "x", "args": "y"}, "`args` must be a list"),
        ({"command": "x", "env": ["x"]}, "`env` must be an object"),
        ({"type": "carrier-pigeon", "url": "x"}, "there is no transport 'carrier-pigeon'"),
        ({"url": "ftp://x"}, "its `url` is none"),
        ({"command": "x", "idle_timeout": "soon"}, "idle_timeout"),
        ({"command": "x\0y"}, "zero byte"),
    ],
)
def test_one_that_is_wrong_spoils_no_other(entry: Any, words: str) -> None:
    assert words in problem(entry)
    found = read({"mcpServers": {"s": entry, "good": {"command": "x"}}})
    assert [server.name for server in found.servers] == ["good"]


def test_names_and_keys() -> None:
    assert "cannot be the name" in problem({"command": "x"}, "builtin")
    assert read({"mcpServers": {"s": {"command": "x", "disabled": True}}}).servers == ()
    [warning] = read({"mcpServers": {"s": {"command": "x", "comand": "y"}}}).warnings
    assert "comand means nothing" in warning
    assert one({"command": "x", "tool_prefix": "fs"}).name == "fs"
    assert one({"url": "https://a:b@host/mcp?api_key=secret"}).shown == "https://***@host/mcp?api_key=***"


def test_files_as_editors_take_them() -> None:
    text = '{\n // a comment\n "mcpServers": {"a": {"command": "x", "args": ["//no", "/* no */"],},}, /* end */\n}'
    assert parse_json(text.encode(), "f")["mcpServers"]["a"]["args"] == ["//no", "/* no */"]
    assert without_comments('"a, ]"') == '"a, ]"'
    with pytest.raises(ConfigurationError, match="f is no JSON"):
        parse_json(b"{", "f")
    with pytest.raises(ConfigurationError, match="expected an object"):
        parse_json(b"[1]", "f")


def test_our_own_places(tmp_path: Path) -> None:
    environ = {"GLEITZEIT_CONFIG": str(tmp_path / "config.yaml")}
    (tmp_path / "config.yaml").write_text("providers: {mcp: {servers: {a: {command: of-yaml}, b: {command: y}}}}")
    before = modified(environ, tmp_path)
    (tmp_path / "mcp.json").write_text('{"mcpServers": {"a": {"command": "of-json"}}}')
    assert modified(environ, tmp_path) != before
    more = tmp_path / "more.json"
    more.write_text('{"servers": {"c": {"command": "z"}}}')
    found = configured(environ, tmp_path, [more])
    assert {server.name: server.command[0] for server in found.servers} == {"a": "of-json", "b": "y", "c": "z"}
    (tmp_path / "mcp.json").write_text("{")
    [sentence] = configured(environ, tmp_path).problems
    assert "mcp.json is no JSON" in sentence

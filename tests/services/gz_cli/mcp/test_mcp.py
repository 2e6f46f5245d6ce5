"""`gz mcp`: the file of servers is edited, others' are taken over, servers are asked; no coordinator runs."""

import json
import socket
import stat
import sys
from pathlib import Path

import pytest
from msgspec import Raw

from gleitzeit.mcp.memory import Memory, memory_file
from gz_cli.main import main
from gz_cli.mcp.files import places

BUILTIN = [sys.executable, "-m", "gz_mcp_builtin"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GLEITZEIT_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("GLEITZEIT_CONFIG", raising=False)
    monkeypatch.delenv("GLEITZEIT_MCP_CONFIG", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def our_file(home: Path) -> Path:
    return home / ".gleitzeit" / "mcp.json"


def servers(home: Path) -> object:
    return json.loads(our_file(home).read_text())["mcpServers"]


def test_a_line_for_claude_mcp_add_will_do(home: Path) -> None:
    words = [
        "--scope",
        "user",
        "--transport",
        "http",
        "web",
        "https://host/mcp",
        "--header",
        "Authorization: Bearer a=b",
    ]
    assert main(["mcp", "add", *words]) == 0
    assert servers(home) == {
        "web": {"type": "http", "url": "https://host/mcp", "headers": {"Authorization": "Bearer a=b"}}
    }


def test_add_and_remove(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mcp", "add", "fs", "-e", "A=b c", "--pin", "--", "npx", "-y", "x"]) == 0
    assert main(["mcp", "add", "web", "--url", "https://host/mcp", "--header", "Authorization=Bearer ${TOKEN:-t}"]) == 0
    assert servers(home) == {
        "fs": {"command": "npx", "args": ["-y", "x"], "env": {"A": "b c"}, "pin": True},
        "web": {"url": "https://host/mcp", "headers": {"Authorization": "Bearer ${TOKEN:-t}"}},
    }
    assert stat.S_IMODE(our_file(home).stat().st_mode) == 0o600, "it may hold keys"
    assert main(["mcp", "add", "fs", "other"]) == 2
    assert "--force replaces it" in capsys.readouterr().err
    assert main(["mcp", "add", "fs", "other", "--force"]) == 0
    assert main(["mcp", "list", "-o", "json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(one["name"], one["command"]) for one in listed] == [("fs", "other"), ("web", "https://host/mcp")]
    assert main(["mcp", "remove", "fs"]) == 0
    assert main(["mcp", "remove", "fs"]) == 2
    assert "there is no server 'fs'" in capsys.readouterr().err
    assert list(servers(home)) == ["web"]  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x"], "give either a command or a URL"),
        (["x", "--url", "https://h/", "--", "y"], "give either a command or a URL"),
        (["x", "--url", "gopher://h/"], "its `url` is none"),
        (["builtin", "y"], "cannot be the name of a server"),
        (["x", "-e", "A", "--", "y"], "KEY=VALUE"),
    ],
)
def test_what_cannot_be_added(arguments: list[str], words: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mcp", "add", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not our_file(home).exists()


def test_others_are_taken_over_as_they_stand(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = places(home, home, {})
    for host, document in {
        "claude-desktop": {"mcpServers": {"a": {"command": "x", "env": {"K": "${env:K}"}}}},
        "vscode": {
            "servers": {"b": {"type": "stdio", "command": "y"}},
            "inputs": [{"id": "k", "type": "promptString"}],
        },
        "claude-code": {
            "mcpServers": {"a": {"command": "another"}},
            "projects": {str(home): {"mcpServers": {"c": {"command": "z"}}}},
        },
    }.items():
        file = known[host][-1] if host == "claude-code" else known[host][0]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("// a comment\n" + json.dumps(document))
    assert main(["mcp", "import"]) == 0
    assert servers(home) == {
        "a": {"command": "x", "env": {"K": "${env:K}"}},
        "c": {"command": "z"},
        "b": {"type": "stdio", "command": "y"},
    }
    assert json.loads(our_file(home).read_text())["inputs"] == [{"id": "k", "type": "promptString"}]
    told = capsys.readouterr().err
    assert "a of " in told
    assert "is left out" in told
    assert main(["mcp", "import", "claude-code", "--only", "a", "--force"]) == 0
    assert servers(home)["a"] == {"command": "another"}  # type: ignore[index]
    assert main(["mcp", "import", "cursor"]) == 2
    assert main(["mcp", "import", "nowhere.json"]) == 2


def test_servers_are_tried_and_their_tools_shown(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mcp", "add", "ours", "--", *BUILTIN]) == 0
    assert main(["mcp", "add", "bad", "/nonexistent"]) == 0
    capsys.readouterr()
    assert main(["mcp", "test", "ours"]) == 0
    assert "gleitzeit-builtin" in capsys.readouterr().out
    assert main(["mcp", "test"]) == 1
    assert "bad: it cannot be started" in capsys.readouterr().err
    assert main(["mcp", "tools", "ours", "-o", "json"]) == 0
    rows = {row["tool"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["concat"]["method"] == "mcp/tool.ours.concat"
    assert rows["concat"]["params"] == ["strings", "[separator]"]
    assert main(["mcp", "tools", "nuors"]) == 2
    assert "did you mean 'ours'" in capsys.readouterr().err
    assert main(["mcp", "accept", "ours"]) == 0
    memory = Memory(memory_file(home / "state"))
    assert set(memory.tools("ours")) == {"echo", "add", "multiply", "concat"}
    memory.accept("ours", {**{name: one.definition for name, one in memory.tools("ours").items()}, "add": Raw(b"{}")})
    memory.write()
    assert main(["mcp", "list"]) == 0
    assert "ours  stdio          4" in (said := capsys.readouterr().out)
    assert "add" in said, "and which of them are different"
    assert main(["mcp", "accept", "ours"]) == 0
    assert "the definition of add has changed" in capsys.readouterr().err
    assert not any(one.before for one in Memory(memory_file(home / "state")).tools("ours").values())
    assert main(["mcp", "remove", "ours"]) == 0
    assert "ours" not in Memory(memory_file(home / "state")).servers, "and forgotten"


@pytest.mark.parametrize(
    ("host", "key"), [("claude-desktop", "mcpServers"), ("cursor", "mcpServers"), ("vscode", "servers")]
)
def test_what_a_host_is_given(host: str, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mcp", "install", host]) == 0
    out, err = capsys.readouterr()
    entry = json.loads(out)[key]["gleitzeit"]
    assert entry["args"] == ["mcp", "serve"]
    assert Path(entry["command"]).name == "gz"
    assert "to go into" in err
    assert main(["mcp", "install", "emacs"]) == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--http", "x"], "--http x: expected PORT or HOST:PORT, such as 8766"),
        (["--http", "99999"], "--http 99999: expected PORT or HOST:PORT"),
        (["--http", "0.0.0.0:0"], "which others can reach, a token and TLS are needed (--token-file, --tls-cert)"),
        (["--http", "0", "--tls-key", "key.pem"], "--tls-key is nothing without --tls-cert"),
        (["--http", "0", "--token-file", "nowhere"], "the token file nowhere cannot be read"),
        (["--http", "192.0.2.1:0", "--token-file", "t", "--tls-cert", "c"], "no certificate with its key in c"),
        (["--tls-cert", "c"], "are of --http: stdin has only who started us"),
    ],
)
def test_where_http_cannot_be_served(
    words: list[str], told: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "t").write_text("sesame")
    assert main(["mcp", "serve", *words]) == 2
    assert told in capsys.readouterr().err


def test_a_port_in_use_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["mcp", "serve", "--http", str(taken.getsockname()[1])]) == 2
    assert "is in use; choose another one with --http PORT" in capsys.readouterr().err

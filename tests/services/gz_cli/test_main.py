"""The commands that need no coordinator, from the command line to the exit code."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from tests.services.gz_cli.here import gz
from typer.main import get_command

from gz_cli.app import complete

EXAMPLES = Path(__file__).parents[3] / "examples"

BAD = """\
name: Bad
tasks:
  - id: a
    method: echo/ecko
    params: {message: x}
  - id: b
    method: echo/echo
    params: {message: "${c.response}"}
"""


@pytest.fixture(autouse=True)
def _nobody_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home without configuration, and a state folder without a stack."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GLEITZEIT_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("GLEITZEIT_DEBUG", raising=False)


def test_every_example_is_valid(capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted(EXAMPLES.glob("*.yaml"))
    code, out, err = gz(capsys, "validate", *files)
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == len(files) >= 6


def test_of_one_document_the_inputs_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = gz(capsys, "run", "--dry-run", EXAMPLES / "typed_inputs.yaml")
    assert (code, out) == (0, f"{EXAMPLES / 'typed_inputs.yaml'}: ok, 1 task\n")
    assert err.splitlines() == [
        "  -p title=…  string, required: what to print",
        "  -p copies=1  integer",
        "  -p style=plain  plain | loud",
        "  -p separator=' / '",
    ]


def test_help_and_version_are_words_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert gz(capsys, "help", "mcp", "add") == gz(capsys, "mcp", "add", "--help")
    assert gz(capsys, "version") == gz(capsys, "--version")


def test_all_problems_of_all_files_are_shown_with_their_lines(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bad, broken = tmp_path / "bad.yaml", tmp_path / "broken.yaml"
    bad.write_text(BAD)
    broken.write_text("name: x\ntasks: [\n")
    code, out, err = gz(capsys, "validate", bad, EXAMPLES / "hello.yaml", broken)
    assert code == 2
    assert out == f"{EXAMPLES / 'hello.yaml'}: ok, 1 task\n"
    lines = err.splitlines()
    assert lines[0] == (f"{bad}:4:13: error: protocol 'echo/v1' has no method 'echo/ecko' (did you mean 'echo/echo'?)")
    assert lines[1:3] == ["    4 |     method: echo/ecko", "      |             ^"]
    assert lines[3].startswith(f"{bad}:8:24: error: ")
    assert "2 errors" in lines
    assert f"{broken}:3:1: error: not YAML" in err


def test_a_file_that_is_not_there_hides_no_other(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    hello = EXAMPLES / "hello.yaml"
    code, out, err = gz(capsys, "validate", "none.yaml", hello, tmp_path)
    assert (code, out) == (2, f"{hello}: ok, 1 task\n")
    errors = [line for line in err.splitlines() if line != "1 error"]
    assert errors == ["none.yaml: error: No such file or directory", f"{tmp_path}: error: Is a directory"]


def test_the_problems_of_documents_as_data(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    bad, hello = tmp_path / "bad.yaml", EXAMPLES / "hello.yaml"
    bad.write_text(BAD)
    code, out, err = gz(capsys, "validate", bad, hello, "none.yaml", "-o", "json")
    found = msgspec.json.decode(out)
    assert (code, err) == (2, "")
    assert found[0] == {
        "file": str(bad), "line": 4, "column": 13, "level": "error", "hint": "echo/echo", "path": "tasks[0].method",
        "message": "protocol 'echo/v1' has no method 'echo/ecko'",
    }  # fmt: skip
    assert {one["file"]: one["line"] for one in found} == {str(bad): 8, "none.yaml": None}
    assert yaml.safe_load(gz(capsys, "validate", bad, hello, "none.yaml", "-o", "yaml")[1]) == found
    assert gz(capsys, "validate", bad, hello, "-o", "id") == (2, f"{hello}\n", "")
    assert gz(capsys, "run", hello, "--dry-run", "-o", "json") == (0, "[]\n", "")


NOT_DATA = {  # commands that do something and say so on stderr, stay, or print what has a format of its own
    *(
        "chat",
        "ask",
        "up",
        "serve",
        "hub",
        "start",
        "system start",
        "dev start",
        "dev start-mcp",
        "monitor",
        "mcp serve",
    ),
    *(
        "completion",
        "down",
        "dev stop",
        "init",
        "graph",
        "schema",
        "journal export",
        "journal import",
        "journal migrate",
    ),
    *("mcp add", "mcp remove", "mcp import", "mcp accept", "secret set", "secret delete"),
    *("config set", "config init", "config create", "auth init", "auth login"),
}


def test_every_command_that_prints_data_takes_o() -> None:
    def commands(group: Any, name: str) -> Iterator[tuple[str, set[str]]]:
        for word, one in getattr(group, "commands", {}).items():
            yield from commands(one, f"{name} {word}".strip())
        if not hasattr(group, "commands"):
            yield name, {option for parameter in group.params for option in parameter.opts}

    found = dict(commands(get_command(complete()), ""))
    assert {name for name, options in found.items() if not {"-o", "--output"} <= options} == NOT_DATA


def test_a_wrong_document_is_not_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(BAD)
    code, out, err = gz(capsys, "run", bad, "--url", "ws://127.0.0.1:1/")
    assert (code, out) == (2, "")
    assert "bad.yaml:4:13: error:" in err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run"], 2, "Missing argument"),
        (["frobnicate"], 2, "No such command"),
        (["run", "none.yaml"], 2, "none.yaml: No such file or directory"),
        (["run", EXAMPLES / "hello.yaml", "-p", "name"], 2, "KEY=VALUE"),
        (["run", EXAMPLES / "hello.yaml", "--timeout", "soon"], 2, "duration"),
        (["call", "system.status", "--params", "{"], 2, "--params"),
        (["up", "--listen", "nowhere"], 2, "HOST:PORT"),
        (["up", "--provider", "frob"], 2, "gz-provider-frob"),
        (["up", "--strategy", "llm=best_fitt"], 2, "did you mean best_fit?"),
        (["run", EXAMPLES / "hello.yaml", "--provider", "frob"], 2, "gz-provider-frob"),
        (["run", EXAMPLES / "hello.yaml", "--state", "/proc/none"], 2, "/proc/none"),
        (["up", "--state", "/proc/none"], 2, "/proc/none"),
        (["run", EXAMPLES / "hello.yaml", "--url", "ws://127.0.0.1:1/"], 5, "cannot connect"),
        (["status"], 5, "gz up"),
        (["list"], 5, "no coordinator runs"),
        (["get", "@latest"], 5, "no coordinator runs"),
        (["providers"], 5, "no coordinator runs"),
    ],
)
def test_what_goes_wrong_has_an_exit_code_and_a_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[object], code: int, words: str
) -> None:
    got, out, err = gz(capsys, *arguments)
    assert (got, out) == (code, "")
    assert words in err
    assert "Traceback" not in err


def test_graph(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = gz(capsys, "graph", EXAMPLES / "diamond.yaml")
    assert code == 0
    assert out.splitlines()[-1] == "└─ difference  python/execute  after total, squares"
    assert gz(capsys, "graph", EXAMPLES / "diamond.yaml", "--format", "dot")[1].startswith('digraph "Diamond" {')


def test_the_configuration_and_its_sources(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLEITZEIT_TOKEN", "very-secret")
    code, out, _ = gz(capsys, "config", "show")
    assert code == 0
    assert "GLEITZEIT_STATE" in out
    assert "very-secret" not in out


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = gz(capsys, "--version")
    assert code == 0
    assert out.startswith("gz ")
    for command in ([], ["run"], ["workflow"], ["workflow", "submit"], ["system", "status"], ["dev", "start"]):
        code, out, _ = gz(capsys, *command, "--help")
        assert code == 0
        assert out.startswith("Usage: gz")


SOCKETS = "asyncio websockets ssl jsonrpcclient gleitzeit.transport"
NO_MODEL = "name: Hello\ntasks: [{id: a, method: llm/chat, params: {prompt: hi}}]\n"


@pytest.mark.parametrize(
    ("arguments", "code", "heavy"),
    [
        (["--version"], 0, "typer"),
        (["--help"], 0, f"{SOCKETS} yaml jsonschema_rs rich msgspec pydantic"),
        (["status"], 5, f"{SOCKETS} yaml jsonschema_rs gleitzeit.spec.loading.load"),
        (["list"], 5, f"{SOCKETS} jsonschema_rs gleitzeit.spec.check"),
        (["run", "FILE"], 2, SOCKETS),
    ],
)
def test_what_is_told_at_once_imports_nothing_heavy(
    tmp_path: Path, arguments: list[str], code: int, heavy: str
) -> None:
    """What makes a short command slow is found in the imports, not with a clock."""
    document = tmp_path / "no_model.yaml"
    document.write_text(NO_MODEL, encoding="utf-8")
    words = [str(document) if word == "FILE" else word for word in arguments]
    program = (
        "import sys; from gz_cli.main import main; code = main(sys.argv[2:])\n"
        "print('heavy:', *(name for name in sys.argv[1].split() if name in sys.modules)); sys.exit(code)"
    )
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "OLLAMA_HOST": "127.0.0.1:1"}
    command = [sys.executable, "-c", program, heavy, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == code, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["heavy:"]


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m gz_cli graph {EXAMPLES / 'standard_library_report.yaml'} -f mermaid | head -1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("flowchart TD\n", "")


@pytest.mark.parametrize(("closed", "said"), [(">&-", ""), ("2>&-", "ok, 1 task"), ("<&- >&- 2>&-", "")])
def test_a_stream_that_is_closed_is_no_error(closed: str, said: str) -> None:
    command = f"{sys.executable} -c 'from gz_cli.main import run; run()' validate {EXAMPLES / 'hello.yaml'} {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert said in done.stdout


@pytest.mark.parametrize(
    ("words", "meant"), [(("lst",), "list"), (("compeltion",), "completion"), (("mcp", "lst"), "list")]
)
def test_a_command_that_does_not_exist(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], meant: str) -> None:
    code, _, err = gz(capsys, *words)
    assert code == 2
    assert err.endswith(f"Error: No such command '{words[-1]}'; did you mean '{meant}'?\n")


def test_what_earlier_versions_had_is_not_suggested(capsys: pytest.CaptureFixture[str]) -> None:
    assert "'components'" not in gz(capsys, "componets")[2]
    assert gz(capsys, "components", "--help")[0] == 0


def test_json_as_other_programs_have_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert msgspec.json.decode(gz(capsys, "config", "show", "--json")[1])["listen"]["source"] == "default"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_how_a_shell_completes(shell: str) -> None:
    ran = subprocess.run([sys.executable, "-m", "gz_cli", "completion", shell], capture_output=True, text=True)
    assert ran.returncode == 0
    assert "_GZ_COMPLETE" in ran.stdout


@pytest.mark.parametrize(
    "words", [["--help"], ["run", "--help"], ["version"], ["config", "show"], ["completion", "zsh"]]
)
def test_nobody_reads_on(words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ran = subprocess.run([sys.executable, "-m", "gz_cli", *words], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (ran.returncode, ran.stderr) == (141, "")


def test_bytes_that_are_no_text_are_told(tmp_path: Path) -> None:
    def ran(*words: bytes) -> "subprocess.CompletedProcess[bytes]":
        command = [os.fsencode(sys.executable), b"-m", b"gz_cli", *words]
        return subprocess.run(command, capture_output=True, cwd=tmp_path)

    (tmp_path / "x.yaml").write_bytes((EXAMPLES / "hello.yaml").read_bytes())
    os.rename(os.fsencode(tmp_path / "x.yaml"), os.path.join(os.fsencode(tmp_path), b"\xff.yaml"))
    assert ran(b"validate", b"\xff.yaml").returncode == 0
    refused = ran(b"run", b"\xff.yaml", b"-p", b"name=\xff")
    assert refused.returncode == 2
    assert refused.stderr.startswith(b"gz: b'name=\\xff' is no text in UTF-8")

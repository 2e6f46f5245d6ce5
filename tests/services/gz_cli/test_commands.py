"""The commands against a real stack, which is started once for all of them."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.services.gz_cli.here import gz
from tests.services.gz_cli.up import wait_for_line

EXAMPLES = Path(__file__).parents[3] / "examples"

FAILING = """\
name: Failing
tasks:
  - {id: bad, method: python/execute, params: {code: "raise ValueError('on purpose')"}}
  - {id: after, method: echo/echo, dependencies: [bad], params: {message: never}}
"""
WAITING = "name: Waiting\ntasks:\n  - {id: wait, method: signal/wait, params: {signal_name: go}}\n"


@pytest.fixture(autouse=True)
def _here(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GLEITZEIT_STATE", str(state))
    for name, text in (("failing.yaml", FAILING), ("waiting.yaml", WAITING)):
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)


def submitted(capsys: pytest.CaptureFixture[str], file: str) -> str:
    code, out, _ = gz(capsys, "submit", file, "-o", "id")
    assert code == 0
    return out.strip()


def test_run_prints_the_result_on_stdout_and_the_story_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = gz(capsys, "run", EXAMPLES / "hello.yaml", "-p", "name=Ada")
    assert (code, out) == (0, "Hello, Ada!\n")
    assert "✓ greet completed" in err
    assert "\x1b" not in err


def test_run_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = gz(capsys, "run", EXAMPLES / "hello.yaml", "--quiet", "-o", "json")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert result["outputs"] == {"greeting": "Hello, world!"}
    assert result["status"] == "completed"


def test_what_is_misspelled_is_answered_with_what_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    (Path.cwd() / "files.yaml").write_text(
        "type: batch\nname: Files\nid: evening-files\nbatch: {files: [files.yaml]}\n"
        "template: {method: echo/echo, params: {message: '${item.name}'}}\n"
    )
    assert gz(capsys, "run", "files.yaml")[0] == 0
    for command, meant in (
        (("providers", "ecko"), "echo"),
        (("drain", "ecko"), "echo"),
        (("protocols", "ecko"), "echo/v1"),
        (("protocols", "echo/ecko"), "echo/echo"),
        (("call", "echo/ecko"), "echo/echo"),
        (("call", "system.statu"), "system.status"),
        (("batch", "show", "evening-flies"), "evening-files"),
        (("get", "Flies"), "Files"),
        (("list", "--status", "runing"), "running"),
        (("run", "files.yaml", "--provider", "ecko"), "echo"),
        (("history", "Files", "--event", "TaskComplted"), "TaskCompleted"),
    ):
        code, _, err = gz(capsys, *command)
        assert code in (2, 3)
        assert f"did you mean '{meant}'" in err, command


def test_a_workflow_that_fails(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = gz(capsys, "run", "failing.yaml")
    assert (code, out) == (1, "")
    assert "failed in bad: " in err
    assert "on purpose" in err
    assert 'File "<code>", line 1, in <module>' in err
    code, out, err = gz(capsys, "result", "@latest", "bad")
    assert (code, out) == (1, "")
    assert "Traceback" in err
    for command in ("get", "explain"):
        assert 'File "<code>", line 1' in gz(capsys, command, "@latest")[1]
    assert "failed in bad: " in gz(capsys, "explain", "@latest")[1].splitlines()[0]
    assert gz(capsys, "result", "@latest")[0] == 1
    assert gz(capsys, "watch", "@latest")[0] == 1
    code, out, _ = gz(capsys, "get", "@latest")
    assert code == 0
    assert [line.split()[2] for line in out.splitlines() if line.startswith(("bad", "after"))] == ["failed", "skipped"]
    code, out, _ = gz(capsys, "retry", "@latest", "-o", "json")
    assert sorted(json.loads(out)["tasks"]) == ["after", "bad"]
    assert gz(capsys, "watch", "@latest")[0] == 1


def test_what_completed_is_told_after_a_failure(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "half.yaml").write_text(FAILING + "  - {id: good, method: echo/echo, params: {message: well}}\n")
    code, out, err = gz(capsys, "run", "half.yaml", "-q")
    assert (code, out) == (1, "")
    assert "what completed:\n  good: well\n" in err


def test_items_that_ask_a_person_are_found(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "ask.yaml").write_text(
        "name: ask\ntasks: [{id: ask, for_each: [a, b], approval: {message: 'ok ${item}?'}}]\n"
    )
    workflow_id = submitted(capsys, "ask.yaml")
    code, _, err = gz(capsys, "approve", workflow_id)
    assert (code, "2 tasks of " in err, "ask: ask[0], ask[1]; say which" in err) == (2, True, True)
    assert gz(capsys, "approve", workflow_id, "ask[1]")[0] == 0
    assert gz(capsys, "approve", workflow_id)[1] == f"ask[0] of {workflow_id} is approved\n"
    assert gz(capsys, "watch", workflow_id)[0] == 0


def test_a_workflow_within_a_workflow_that_asks_a_person_is_found(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    inner = "{name: inner, tasks: [{id: ask, approval: {message: deep}}]}"
    (tmp_path / "deep.yaml").write_text(f"name: deep\ntasks: [{{id: run, workflow: {inner}}}]\n")
    workflow_id = submitted(capsys, "deep.yaml")
    assert gz(capsys, "approve", workflow_id)[1] == f"ask of {workflow_id}~run~1 is approved\n"
    assert gz(capsys, "watch", workflow_id)[0] == 0


def test_the_life_of_a_workflow_that_waits(capsys: pytest.CaptureFixture[str]) -> None:
    workflow_id = submitted(capsys, "waiting.yaml")
    code, _, err = gz(capsys, "watch", workflow_id, "--timeout", "200ms")
    assert code == 6
    assert "goes on" in err
    assert gz(capsys, "pause", workflow_id[:-1])[1] == f"{workflow_id} is paused\n"
    assert gz(capsys, "resume", "@latest")[0] == 0
    assert "waits" in gz(capsys, "explain", workflow_id, "wait")[1]
    code, _, err = gz(capsys, "signal", workflow_id, "goo")
    assert (code, "no task is known to wait for the signal goo" in err, "Awaited: go" in err) == (0, True, True)
    code, _, err = gz(capsys, "signal", workflow_id, "go", "--payload", '{"by": "Ada"}')
    assert (code, err) == (0, "")
    assert gz(capsys, "watch", workflow_id)[0] == 0
    assert gz(capsys, "explain", workflow_id)[1] == f"{workflow_id} is completed: nothing of it waits\n"
    code, out, _ = gz(capsys, "result", workflow_id, "wait", "-o", "json")
    assert json.loads(out)["result"]["payload"] == {"by": "Ada"}
    assert "SignalReceived" in gz(capsys, "history", workflow_id)[1]
    assert gz(capsys, "cancel", workflow_id)[0] == 2  # it has ended


def test_a_cancelled_workflow_has_an_exit_code_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    workflow_id = submitted(capsys, "waiting.yaml")
    assert gz(capsys, "cancel", workflow_id, "--reason", "enough")[1] == f"{workflow_id} is cancelled\n"
    assert gz(capsys, "watch", workflow_id)[0] == 7
    assert gz(capsys, "result", workflow_id)[0] == 7


def test_names_and_ids(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = submitted(capsys, "waiting.yaml"), submitted(capsys, "waiting.yaml")
    assert gz(capsys, "status", "Waiting")[0] == 2
    code, _, err = gz(capsys, "status", "wf-")
    assert code == 2
    assert first in err
    assert second in err
    assert gz(capsys, "status", second, "-o", "id")[1] == f"{second}\n"
    assert gz(capsys, "status", "@latest", "-o", "id")[1] == f"{second}\n"
    assert gz(capsys, "status", "Waiting@latest", "-o", "id")[1] == f"{second}\n"
    assert "or Waiting@latest for the newest" in gz(capsys, "status", "Waiting")[2]
    assert gz(capsys, "status", "nobody")[0] == 3
    assert gz(capsys, "result", second, "nothing")[0] == 3
    for workflow_id in (first, second):
        assert gz(capsys, "cancel", workflow_id)[0] == 0


def test_the_id_that_a_document_gives_itself(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("id: my-own-id\n" + WAITING)
    first = submitted(capsys, "own.yaml")
    assert gz(capsys, "get", "my-own-id", "-o", "id")[1] == f"{first}\n"
    second = submitted(capsys, "own.yaml")
    code, _, err = gz(capsys, "get", "my-own-id")
    assert (code, first in err, second in err) == (2, True, True)
    assert gz(capsys, "get", "my-own-id@latest", "-o", "id")[1] == f"{second}\n"
    for workflow_id in (first, second):
        assert gz(capsys, "cancel", workflow_id)[0] == 0


def test_a_task_that_nobody_can_run_is_not_silent(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "nobody.yaml").write_text("name: Nobody\ntasks: [{id: a, method: words/count}]\n")
    code, _, err = gz(capsys, "run", "nobody.yaml", "--timeout", "1500ms")
    assert code == 6
    assert "nobody.yaml:2:25: warning: nobody has described protocol 'words/v1' yet" in err
    assert "a waits: no provider serves words/count" in err
    assert gz(capsys, "cancel", "Nobody")[0] == 0


def test_submit_waits_where_it_is_told_to(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert gz(capsys, "submit", EXAMPLES / "hello.yaml", "--wait") == (0, "Hello, world!\n", "")
    patient = tmp_path / "patient.yaml"
    patient.write_text((EXAMPLES / "hello.yaml").read_text() + "wait_for_completion: true\n")
    assert gz(capsys, "submit", patient)[1] == "Hello, world!\n"
    out = gz(capsys, "submit", EXAMPLES / "hello.yaml", "--hold")[1]
    assert gz(capsys, "get", out.strip(), "-o", "json")[1].count('"held": true') == 1
    assert gz(capsys, "resume", out.strip(), "--watch")[1] == "Hello, world!\n"


def test_the_same_key_makes_no_second_workflow(capsys: pytest.CaptureFixture[str]) -> None:
    first = gz(capsys, "submit", EXAMPLES / "hello.yaml", "--idempotency-key", "k1")[1]
    code, second, err = gz(capsys, "submit", EXAMPLES / "hello.yaml", "--idempotency-key", "k1")
    assert (code, second) == (0, first)
    assert "submitted before" in err
    assert gz(capsys, "submit", "waiting.yaml", "--idempotency-key", "k1")[0] != 0


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    workflow_id = submitted(capsys, "waiting.yaml")
    assert workflow_id in gz(capsys, "list", "--status", "running", "--status", "pending", "-o", "id")[1].split()
    assert workflow_id not in gz(capsys, "list", "--status", "completed", "-o", "id")[1].split()
    assert {row["name"] for row in json.loads(gz(capsys, "list", "--name", "Waiting", "-o", "json")[1])} == {"Waiting"}
    head = gz(capsys, "list", "-n", 1)[1].splitlines()[0]
    assert head.split() == ["ID", "NAME", "STATUS", "DONE", "TASKS", "CREATED"]
    gz(capsys, "cancel", workflow_id)
    code, out, err = gz(capsys, "list", "--status", "foo")
    assert (code, out) == (2, "")
    assert "pending, running, paused" in err


def test_the_system(capsys: pytest.CaptureFixture[str], state: Path) -> None:
    code, out, _ = gz(capsys, "status")
    assert code == 0
    assert out.startswith("coordinator:  ws://127.0.0.1:")
    assert gz(capsys, "system", "status")[0] == 0
    rows = [line.split()[0] for line in gz(capsys, "providers")[1].splitlines()]
    assert sorted(rows) == ["NAME", "echo", "python"]
    assert "echo/v1" in gz(capsys, "protocols", "-o", "id")[1].split()
    assert "python/execute" in gz(capsys, "protocols", "python")[1]
    assert gz(capsys, "protocols", "nothing/v1")[0] == 3
    assert "did you mean 'python/v1'?" in gz(capsys, "protocols", "pyton")[2]
    assert "did you mean" not in gz(capsys, "protocols", "nope")[2]
    code, out, _ = gz(capsys, "protocols", "timer/sleep")
    assert (code, out.splitlines()[0].partition(":")[0]) == (0, "timer/sleep")
    assert "duration  number or string: How long: seconds, or a text like 30s" in out
    assert "slept_seconds  number, required: How long it waited." in out
    code, _, err = gz(capsys, "protocols", "timer/slep")
    assert (code, "did you mean 'timer/sleep'?" in err) == (3, True)
    assert gz(capsys, "providers", "echo", "-o", "json") == gz(capsys, "providers", "list", "echo", "-o", "json")
    code, _, err = gz(capsys, "up", "--state", state, "--listen", "127.0.0.1:0")
    assert code == 2
    assert "already uses" in err


def test_the_link_by_which_a_person_answers_stands_on_a_line_of_its_own(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "asks.yaml"
    file.write_text("name: asks\ntasks: [{id: ask, approval: {message: May I?}}]\n")
    workflow_id = gz(capsys, "submit", file, "-o", "id")[1].strip()
    lines: list[str] = []
    end = time.monotonic() + 20
    while not lines and time.monotonic() < end:
        explained = gz(capsys, "explain", workflow_id)[1].splitlines()
        lines = [line for line in explained if "/approve/" in line]
    assert [line.partition(": http://")[0] for line in lines] == ["ask"]
    assert gz(capsys, "cancel", workflow_id)[0] == 0


def test_call(capsys: pytest.CaptureFixture[str]) -> None:
    assert gz(capsys, "call", "echo/echo", "--params", '{"message": "hi"}') == (0, "hi\n", "")
    assert json.loads(gz(capsys, "call", "system.status")[1])["version"]
    assert gz(capsys, "call", "no.such.method")[0] == 3
    assert "did you mean 'system.status'?" in gz(capsys, "call", "system.sttus")[2]
    assert gz(capsys, "call", "workflow.get")[0] == 2
    code, _, err = gz(capsys, "call", "echo/echo", "--params", '{"mesage": "hi"}')
    assert code == 2
    assert err.startswith("gz call echo/echo: error: params")
    assert "'message'" in err


def test_validate_online(capsys: pytest.CaptureFixture[str]) -> None:
    assert gz(capsys, "validate", "--online", EXAMPLES / "hello.yaml")[0] == 0


def test_ctrl_c_holds_what_the_command_has_started(capsys: pytest.CaptureFixture[str]) -> None:
    process = subprocess.Popen([sys.executable, "-m", "gz_cli", "run", "waiting.yaml"], stderr=subprocess.PIPE)
    assert process.stderr is not None
    seen = wait_for_line(process.stderr.fileno(), b"waits for the signal")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    workflow_id = seen.split(b"Waiting  ")[1].split()[0].decode()
    assert f"gz resume {workflow_id}" in err.decode()
    assert json.loads(gz(capsys, "status", workflow_id, "-o", "json")[1])["held"]
    assert gz(capsys, "cancel", workflow_id)[0] == 0


@pytest.mark.parametrize("command", ["cancel", "delete", "status", "watch", "retry"])
def test_no_workflow_at_all_is_not_the_only_one(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """As in `gz cancel "$ID"`, where nobody has set that."""
    for empty in ("", " "):
        code, _, err = gz(capsys, command, empty)
        assert (code, err) == (2, f"gz: ID is empty: is a variable not set? `gz {command} -h` says what it takes\n")

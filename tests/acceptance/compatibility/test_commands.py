"""Commands and options of earlier versions, with a stack that was started as they started it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import support

SUMS = """
name: sums
tasks:
  - {id: a, method: python/execute, params: {code: "result = 1 + 1"}}
  - {id: b, method: echo/error, params: {message: never}, on_error: skip, dependencies: [a]}
outputs: {sum: a.result}
"""


class Earlier:
    """The stack, and the id of a workflow that has run."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.file = folder / "sums.yaml"
        self.file.write_text(SUMS)
        up = support.gz("start", "--background", "--listen", "127.0.0.1:0", state=self.state)
        assert up.stdout.startswith("ws://127.0.0.1:"), up.stderr
        self.id = self.gz("submit", str(self.file), "--wait", "-o", "id")

    def gz(self, *words: str, code: int = 0) -> str:
        """What it prints; of a command that is to fail, what it says."""
        ran = support.gz_here(*words, state=self.state)
        assert ran.returncode == code, ran.stderr
        return (ran.stdout if code == 0 else ran.stderr).strip()


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Earlier]:
    one = Earlier(tmp_path_factory.mktemp("commands"))
    yield one
    one.gz("dev", "stop")
    support.wait_for(lambda: not (one.state / "stack.json").exists())


def test_a_second_one_in_the_background_says_that_there_is_one(earlier: Earlier) -> None:
    again = support.gz("start", "--background", state=earlier.state)
    assert (again.returncode, "already uses" in again.stderr) == (2, True)


@pytest.mark.parametrize("option", ["--output-file", "--output"])
def test_a_result_goes_to_a_file(earlier: Earlier, option: str) -> None:
    file = earlier.file.with_name(f"result{option}.json")
    assert earlier.gz("submit", str(earlier.file), option, str(file), "--priority", "urgent") == ""
    result = json.loads(file.read_text())
    assert (result["status"], result["outputs"]) == ("completed", {"sum": 2})
    assert json.loads(earlier.gz("get", result["workflow_id"], "-o", "json"))["priority"] == "urgent"


def test_what_cannot_be_meant_is_told_before_anything_runs(earlier: Earlier) -> None:
    assert "low, normal, high or urgent" in earlier.gz("run", str(earlier.file), "--priority", "soon", code=2)
    assert "no file can be written" in earlier.gz("run", str(earlier.file), "--output-file", "/none/x.json", code=2)
    assert "gz task list ID" in earlier.gz("task", "list", code=2)
    assert "say ID TASK" in earlier.gz("task", "status", "a", code=2)
    assert "write both into one" in earlier.gz("task", "submit", "--method", "echo/echo", "--depends-on", "a", code=2)
    assert "gz run FILE" in earlier.gz("replay", "start", earlier.id, "--mode", "full", code=2)


@pytest.mark.parametrize(
    ("wanted", "types"),
    [
        (("TaskFailed",), ["TaskFailed"]),
        (("task:completed", "workflow:completed"), ["TaskCompleted", "WorkflowCompleted"]),
        (("workflow:*",), ["WorkflowSubmitted", "WorkflowCompleted"]),
    ],
)
def test_events_are_filtered_by_earlier_names(earlier: Earlier, wanted: tuple[str, ...], types: list[str]) -> None:
    options = [word for name in wanted for word in ("--event", name)]
    history = json.loads(earlier.gz("history", earlier.id, "-o", "json", *options))
    assert [one["event"]["type"] for one in history] == types
    watched = earlier.gz("watch", earlier.id, "-o", "json", *options).splitlines()
    assert [json.loads(line)["event"]["type"] for line in watched] == types


def test_events_of_no_workflow_are_refused_with_what_tells_them_now(earlier: Earlier) -> None:
    assert "gz providers" in earlier.gz("history", earlier.id, "--event", "provider:registered", code=2)


def test_replays(earlier: Earlier) -> None:
    again = earlier.gz("replay", "start", earlier.id, "--from-task", "a", "-o", "id")
    assert json.loads(earlier.gz("history", again, "-o", "json"))[0]["event"]["origin"]["from_task"] == "a"


def test_providers_by_name(earlier: Earlier) -> None:
    assert [one["name"] for one in json.loads(earlier.gz("provider", "inspect", "echo", "-o", "json"))] == ["echo"]
    assert "no provider 'other'" in earlier.gz("provider", "inspect", "other", code=3)


def test_a_document_is_checked_by_the_schema_of_editors(earlier: Earlier) -> None:
    assert earlier.gz("validate", "--schema", str(earlier.file)).endswith("ok, 2 tasks")
    old = earlier.file.with_name("old.yaml")
    old.write_text("name: n\ntasks: [{id: a, method: echo/echo, priority: HIGH}]\n")
    assert earlier.gz("validate", str(old)).endswith("ok, 1 task")
    assert "HIGH" in earlier.gz("validate", "--schema", str(old), code=2)


def test_tokens(earlier: Earlier, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    monkeypatch.setenv("GLEITZEIT_CONFIG", str(tmp_path / "config.yaml"))
    file = Path(earlier.gz("auth", "init"))
    assert file.stat().st_mode & 0o077 == 0
    assert "is there already" in earlier.gz("auth", "init", code=2)
    assert "none is configured" in earlier.gz("auth", "status")
    earlier.gz("auth", "login", "--file", str(file))
    assert (tmp_path / "config.yaml").stat().st_mode & 0o077 == 0
    said = earlier.gz("auth", "status")
    assert "set (" in said
    assert file.read_text().strip() not in said
    assert "yes, to ws://" in said


def test_templates_are_looked_up_where_a_coordinator_is_at_hand(earlier: Earlier, tmp_path: Path) -> None:
    file, child = tmp_path / "parent.yaml", tmp_path / "greet.yaml"
    child.write_text(
        "name: greet\ninputs: {who: {type: string, required: true}}\ntasks: [{id: a, method: echo/echo}]\n"
    )
    file.write_text("name: parent\ntasks: [{id: a, workflow: greet, inputs: {wo: Ada}}]\n")
    assert "there is no template 'greet'" in earlier.gz("validate", str(file), code=2)
    nowhere = support.gz_here("validate", str(file), state=tmp_path / "nothing")
    assert nowhere.returncode == 0
    assert "warning: the template 'greet' cannot be looked up here" in nowhere.stderr
    earlier.gz("template", "put", str(child))
    assert "did you mean 'who'?" in earlier.gz("validate", str(file), code=2)
    file.write_text("name: parent\ntasks: [{id: a, workflow: greet, inputs: {who: Ada}}]\n")
    assert earlier.gz("validate", str(file)) == f"{file}: ok, 1 task"
    file.write_text("name: parent\ntasks: [{id: a, method: template/greet, params: {who: Ada}}]\n")
    assert earlier.gz("run", str(file), "-q", "-o", "id").startswith("wf-")


def test_a_coordinator_is_looked_at_by_its_url(earlier: Earlier, tmp_path: Path) -> None:
    url = json.loads((earlier.state / "stack.json").read_text())["url"]
    assert url in support.gz_here("cluster", "connect", url, state=tmp_path).stdout

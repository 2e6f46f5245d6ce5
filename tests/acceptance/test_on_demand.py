"""Providers that `gz run` starts because a document needs them."""

import json
from pathlib import Path

import support

COMMAND = """
name: commands
tasks:
  - {id: list, type: shell, params: {command: "echo a b"}}
  - {id: again, method: shell/exec, params: {command: "echo '${list.output}' $${x}", env: {A: "1"}}}
outputs: {said: "${again.output}"}
"""
GATE = """
name: gate
tasks:
  - {id: check, method: python/execute, params: {code: "result = {'score': 0.9}"}}
  - id: valid
    method: validation/evaluate
    params: {conditions: [{name: high, expression: check.result.score > limit}], context: {limit: 0.5}}
  - id: gate
    method: validation/gate
    params: {rules: [{name: good, condition: valid.passed, enable_tasks: [publish], disable_tasks: [revise]}]}
  - {id: publish, method: echo/echo, params: {message: published}}
  - {id: revise, method: echo/echo, params: {message: revised}}
  - {id: strict, method: validation/assert, params: {assertions: ["check.result.score > 1"]}}
  - {id: anyway, method: echo/echo, dependencies: [strict], validation_behavior: continue, params: {message: went on}}
outputs: {done: "${publish.response || revise.response}", anyway: anyway.response}
"""
REQUEST = """
name: request
tasks:
  - {id: nobody, method: http/get, params: {url: "http://127.0.0.1:1/"}, on_error: skip}
  - {id: after, method: echo/echo, params: {message: "${nobody.error}"}}
"""


def test_commands_are_run_by_who_allows_it(tmp_path: Path) -> None:
    state = tmp_path / "state"
    document = tmp_path / "commands.yaml"
    document.write_text(COMMAND)
    refused = support.gz("run", str(document), state=state)
    assert refused.returncode == 2
    assert "runs commands on your machine (tasks list, again)" in refused.stderr
    assert "--allow-shell" in refused.stderr
    assert not (state / "stack.json").exists(), "nothing was started"
    ran = support.gz("run", str(document), "--allow-shell", "-q", "-o", "json", state=state)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["outputs"] == {"said": "a b ${x}"}


def test_a_stack_that_runs_has_to_have_it(tmp_path: Path) -> None:
    document = tmp_path / "request.yaml"
    document.write_text(REQUEST)
    without = support.Stack(tmp_path / "without", "--provider", "echo")
    assert without.url
    refused = support.gz("run", str(document), state=without.state)
    without.stop()
    assert refused.returncode == 2
    assert "serves http/v1" in refused.stderr
    assert "gz up --provider echo,python,http" in refused.stderr
    assert support.gz("run", str(document), "-q", state=tmp_path / "state").returncode == 0


def test_validation_lets_tasks_through(tmp_path: Path) -> None:
    document = tmp_path / "gate.yaml"
    document.write_text(GATE)
    ran = support.gz("run", str(document), "-q", "-o", "json", state=tmp_path / "state")
    assert ran.returncode == 1, "what does not hold fails its task, and that the workflow"
    assert "strict: condition 1: " in ran.stderr or "does not hold" in ran.stderr + ran.stdout
    result = support.gz("get", "@latest", "-o", "json", state=tmp_path / "state")
    tasks = {task["task_id"]: task["status"] for task in json.loads(result.stdout)["tasks"]}
    assert tasks == {
        **dict.fromkeys(("check", "valid", "gate", "publish", "anyway"), "completed"),
        **{"revise": "skipped", "strict": "failed"},
    }

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

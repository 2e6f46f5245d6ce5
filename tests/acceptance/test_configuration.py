"""`gz up` behind a token and a certificate, and what is configured takes effect in real processes."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import support
from support import Stack

from gleitzeit.transport import connect, pin

SLOW = "name: Slow\ntasks:\n  - {id: slow, method: echo/delay, params: {seconds: 10}}\n"
THREE = "name: Three\ntasks:\n" + "".join(
    f"  - {{id: t{n}, method: echo/delay, params: {{seconds: 0.05}}}}\n" for n in range(3)
)


@pytest.fixture
def guarded(tmp_path: Path, certificate: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """Its coordinator may read GREETING for documents; the token comes by its option, the certificate by variables."""
    (tmp_path / "token").write_text("open sesame\n".replace(" ", "-"))
    with monkeypatch.context() as during_start:
        during_start.setenv("GREETING", "Hello from the coordinator")
        during_start.setenv("GLEITZEIT_TLS_CERT", str(certificate.file))
        during_start.setenv("GLEITZEIT_TLS_KEY", str(certificate.key))
        options = ("--provider", "echo", "--token-file", str(tmp_path / "token"), "--allow-env", "GREETING")
        running = Stack(tmp_path / "state", *options)
    yield running
    assert running.stop() == 0


def test_commands_on_this_machine_join_and_others_need_token_and_trust(
    guarded: Stack, tmp_path: Path, certificate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert guarded.url.startswith("wss://127.0.0.1:")
    assert stat.S_IMODE((guarded.state / "stack.json").stat().st_mode) == 0o600
    assert support.gz("status", state=guarded.state).returncode == 0

    elsewhere, url = tmp_path / "elsewhere", guarded.url.replace("127.0.0.1", "localhost")
    refused = support.gz("status", "--url", url, state=elsewhere)
    assert (refused.returncode, "is not trusted" in refused.stderr) == (2, True), refused.stderr
    monkeypatch.setenv("GLEITZEIT_TLS_CA", str(certificate.file))
    refused = support.gz("status", "--url", url, state=elsewhere)
    assert (refused.returncode, "token" in refused.stderr) == (4, True), refused.stderr
    monkeypatch.setenv("GLEITZEIT_TOKEN", "open-sesame")
    assert support.gz("status", "--url", url, state=elsewhere).returncode == 0


def test_defaults_are_put_into_documents_that_are_run_and_submitted(
    guarded: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow.yaml").write_text(SLOW)
    (tmp_path / "three.yaml").write_text(THREE)
    assert guarded.url
    monkeypatch.setenv("GLEITZEIT_DEFAULT_TIMEOUT", "9m")
    ran = support.gz("run", str(tmp_path / "slow.yaml"), "--task-timeout", "200ms", state=guarded.state)
    assert ran.returncode == 1
    # The coordinator's words, or the provider's if that was faster.
    assert "timeout of 200 ms" in ran.stderr or "longer than 0.2 s" in ran.stderr

    monkeypatch.setenv("GLEITZEIT_MAX_PARALLEL", "1")
    done = support.gz("submit", str(tmp_path / "three.yaml"), "--wait", "-o", "json", state=guarded.state)
    assert done.returncode == 0, done.stderr
    history = support.gz("history", "@latest", "-o", "json", state=guarded.state)
    events = [one["event"] for one in json.loads(history.stdout)]
    submitted = next(event for event in events if event["type"] == "WorkflowSubmitted")["definition"]
    assert submitted["max_parallel"] == 1
    assert {task["timeout_seconds"] for task in submitted["tasks"]} == {540}
    order = [event["type"] for event in events if event["type"] in ("TaskStarted", "TaskCompleted")]
    assert order == ["TaskStarted", "TaskCompleted"] * 3


async def test_a_plain_client_has_what_the_coordinator_allows(guarded: Stack, certificate: Any) -> None:
    url = guarded.url
    connection = await connect(url, token="open-sesame", tls=pin(certificate.file))
    task = {"id": "a", "method": "echo/echo", "params": {"message": "${env.GREETING}"}}
    for sent, greeting in (({}, "Hello from the coordinator"), ({"env": {"GREETING": "Mine"}}, "Mine")):
        workflow_id = await support.submit(connection, task, **sent)

        async def ended(workflow_id: str = workflow_id) -> bool:
            view = await connection.call("workflow.get", {"workflow_id": workflow_id})
            return bool(view["status"] == "completed")

        await support.eventually(ended)
        result = await connection.call("workflow.result", {"workflow_id": workflow_id})
        assert result["results"]["a"]["response"] == greeting
    path = {**task, "params": {"message": "${env.PATH}"}}
    answer = await connection.call("workflow.validate", {"definition": {"name": "n", "tasks": [path]}})
    assert not answer["valid"]
    assert os.environ["PATH"] not in json.dumps(answer)
    await connection.close()


def test_an_address_for_others_wants_both(tmp_path: Path) -> None:
    done = support.gz("up", "--listen", "0.0.0.0:0", "--provider", "echo", state=tmp_path / "state")
    assert done.returncode != 0
    assert "a token and TLS are needed" in done.stderr


@pytest.mark.parametrize(
    ("options", "strategy"), [((), "round_robin"), (("--strategy", "llm=best_fit"), "llm=best_fit")]
)
def test_which_provider_gets_a_call_is_said_by_an_option_a_variable_or_the_file(
    tmp_path: Path, options: tuple[str, ...], strategy: str
) -> None:
    stack = Stack(tmp_path / "state", "--provider", "echo", *options, environ={"GLEITZEIT_STRATEGY": "round_robin"})
    assert stack.url, "it is up"
    words = support.command_line(stack.pid("gz_coordinator"))
    assert words[words.index("--strategy") + 1] == strategy
    assert stack.stop() == 0

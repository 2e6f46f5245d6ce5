"""`gz schedule` and `gz rerun`, against a running stack."""

import json
import re
from pathlib import Path

import pytest
from tests.services.gz_cli.here import gz

EXAMPLES = Path(__file__).parents[4] / "examples"


@pytest.fixture(autouse=True)
def _here(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GLEITZEIT_STATE", str(state))
    monkeypatch.chdir(tmp_path)


def test_a_schedule_from_making_to_deleting(capsys: pytest.CaptureFixture[str]) -> None:
    put = ("schedule", "put", "nightly", EXAMPLES / "hello.yaml", "-p", "name=Ada", "--timezone", "Europe/Berlin")
    code, _, err = gz(capsys, *put, "--cron", "30 25 * * *")
    assert code == 2
    assert "the hour '25' of '30 25 * * *' is wrong: 0 to 23" in err
    code, out, err = gz(capsys, *put, "--cron", "30 2 * * *", "--overlap", "queue")
    assert (code, out.split(";")[0]) == (0, "nightly is active, 30 2 * * * (Europe/Berlin)")
    assert gz(capsys, "schedule", "list")[1].splitlines()[1].split()[:2] == ["nightly", "active"]
    told = gz(capsys, "schedule", "get", "nightly")[1].splitlines()
    times = [line for line in told if line.startswith(("next:", "then:"))]
    assert len(times) == 5
    assert all(re.search(r" \d\d\d\d-\d\d-\d\d 02:30 CES?T$", line) for line in times), times
    workflow_id = gz(capsys, "schedule", "trigger", "nightly", "-o", "id")[1].strip()
    gz(capsys, "watch", workflow_id)
    assert gz(capsys, "result", workflow_id)[1] == "Hello, Ada!\n"
    shown = json.loads(gz(capsys, "schedule", "get", "nightly", "-o", "json")[1])
    assert (shown["fired"], shown["overlap"], shown["inputs"]) == (1, "queue", {"name": "Ada"})
    assert gz(capsys, "schedule", "pause", "nightly")[1] == "nightly is paused\n"
    assert gz(capsys, "schedule", "delete", "nightly")[0] == 0
    code, _, err = gz(capsys, "schedule", "get", "nightly")
    assert (code, "there is no schedule 'nightly'" in err) == (3, True)


def test_without_a_stack_it_is_said_who_keeps_one_up(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLEITZEIT_STATE", str(tmp_path / "state"))
    code, _, err = gz(capsys, "schedule", "put", "nightly", EXAMPLES / "hello.yaml", "--every", "15m")
    assert code == 0
    assert "`gz up` keeps one up" in err


def test_rerun_and_diff(capsys: pytest.CaptureFixture[str]) -> None:
    first = gz(capsys, "submit", EXAMPLES / "hello.yaml", "-o", "id")[1].strip()
    gz(capsys, "watch", first)
    code, out, _ = gz(capsys, "rerun", first, "--set", "name=Bob")
    assert (code, out) == (0, "Hello, Bob!\n")
    code, out, _ = gz(capsys, "diff", first, "Hello@latest")
    assert code == 1, "they differ"
    assert "completed: Hello, Bob!" in out
    assert gz(capsys, "diff", first, first)[:2][0] == 0
    again = gz(capsys, "rerun", first, "-d")[1].strip()
    gz(capsys, "watch", again)
    tasks = json.loads(gz(capsys, "get", again, "-o", "json")[1])["tasks"]
    assert [task["cached"] for task in tasks] == [True]

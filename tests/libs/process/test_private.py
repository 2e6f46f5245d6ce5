"""No password stands on a command line that everybody can read."""

import os
import sys
from pathlib import Path

import pytest

from gleitzeit.process.children import start_child
from gleitzeit.process.private import concealed, revealed

SECRET = "nats://user:hush@127.0.0.1:4222"


def test_only_urls_with_a_password_are_taken_out() -> None:
    command = ["gz", "--nats", SECRET, "--cluster", "c", "--journal", "postgresql://u:p@h/db", "--embedded"]
    shown, hidden = concealed(command)
    assert shown == ["gz", "--cluster", "c", "--embedded"]
    assert hidden == {"GLEITZEIT_PRIVATE_NATS": SECRET, "GLEITZEIT_PRIVATE_JOURNAL": "postgresql://u:p@h/db"}
    plain = ["gz", "--nats", "nats://127.0.0.1:4222", "--journal", "sqlite:///a@b/journal.db"]
    assert concealed(plain) == (plain, {})
    assert concealed(["gz", "--nats"]) == (["gz", "--nats"], {})


def test_it_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLEITZEIT_PRIVATE_NATS", SECRET)
    assert revealed("--nats") == SECRET
    assert "GLEITZEIT_PRIVATE_NATS" not in os.environ
    assert revealed("--nats") is None


async def test_a_child_has_it_and_ps_does_not(tmp_path: Path) -> None:
    code = "import sys; from gleitzeit.process.private import revealed; print(revealed('--nats'), sys.argv[1:])"
    log = tmp_path / "log"
    child = await start_child(
        "c", [sys.executable, "-c", code, "--nats", SECRET, "--x"], environ=os.environ, log=log, announces=False
    )
    assert await child.wait() == 0
    assert log.read_text().strip() == f"{SECRET} ['--x']"

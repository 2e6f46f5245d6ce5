"""`gz up --background`: the stack of `gz up` as a process of its own, and we return when it is up."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from gleitzeit.process.state import Address, find_running
from gz_cli import exits
from gz_cli.terminal.talk import put, say

OPTION = "--background"
LOOK_SECONDS = 0.05
PATIENCE_SECONDS = 60.0
LAST_LINES = 20
WAITS = "waiting for "
"""How a line of takeover.py begins."""


def run(state: Path, arguments: Sequence[str]) -> int:
    """Start `gz` with the arguments without the option; its address on stdout. What it says is in logs/up.log."""
    log = state / "logs" / "up.log"
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    command = [sys.executable, "-m", "gz_cli", *(word for word in arguments if word != OPTION)]
    with log.open("ab") as output:
        began = output.tell()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    address = _wait(process, state, log, began)
    if address is not None:
        process.returncode = 0  # or Popen would warn that it still runs, which is what it is for
        say(f"Gleitzeit is up (process {process.pid}); `gz down{_folder(arguments)}` ends it, its log is {log}")
        put(address.url)
        return exits.OK
    if process.returncode is None:
        process.returncode = 0
        say(f"it is not up after {PATIENCE_SECONDS:g} s, and goes on trying; its log is {log}")
        return exits.TIMED_OUT
    silence = f"it ended at once, and could not say why in {log}: is there room on that disk?"
    say("\n".join(_said(log, began)[-LAST_LINES:]) or silence)
    return process.returncode or exits.FAILED


def _said(log: Path, began: int) -> list[str]:
    with log.open("rb") as written:
        written.seek(began)
        return written.read().decode(errors="replace").splitlines()


def _wait(process: "subprocess.Popen[bytes]", state: Path, log: Path, began: int) -> Address | None:
    """None: it has ended, or takes too long. What it waits for itself is passed on."""
    until = time.monotonic() + PATIENCE_SECONDS
    told: set[str] = set()
    while time.monotonic() < until and process.poll() is None:
        found = find_running(state)
        if found is not None and found.pid == process.pid:
            return found
        for line in _said(log, began):
            if line.startswith(WAITS) and line not in told:
                told.add(line)
                say(line)
        time.sleep(LOOK_SECONDS)
    return None


def _folder(arguments: Sequence[str]) -> str:
    """As it was typed."""
    for at, word in enumerate(arguments):
        if word == "--state" and at + 1 < len(arguments):
            return f" --state {arguments[at + 1]}"
        if word.startswith("--state="):
            return f" {word}"
    return ""

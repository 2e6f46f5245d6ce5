"""A stack that `gz up` runs, for tests of several commands."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def wait_for_line(stream: int, words: bytes, seconds: float = 60.0) -> bytes:
    """Read until `words` have come."""
    read = b""
    while words not in read:
        assert select.select([stream], [], [], seconds)[0], read.decode()
        chunk = os.read(stream, 65536)
        assert chunk, read.decode()
        read += chunk
    return read


@contextmanager
def running(folder: Path) -> Iterator[None]:
    """With its state in this folder, and without a trace when it has ended."""
    command = [sys.executable, "-m", "gz_cli", "up", "--state", str(folder), "--listen", "127.0.0.1:0"]
    process = subprocess.Popen([*command, "--journal", "memory:"], stderr=subprocess.PIPE)
    assert process.stderr is not None
    try:
        wait_for_line(process.stderr.fileno(), b"is up at ws://")
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err.decode()
    assert b"Traceback" not in err, err.decode()
    assert not (folder / "stack.json").exists()

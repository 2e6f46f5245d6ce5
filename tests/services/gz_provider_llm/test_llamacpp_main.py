"""`gz-provider-llamacpp` as a process, and the process of llama.cpp behind it."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gleitzeit.transport import connect

COMMAND = (sys.executable, "-m", "gz_provider_llm.llamacpp_main")
PATIENCE_SECONDS = 20


@pytest.fixture
def started(tiny_gguf: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process and its URL."""
    read_end, write_end = os.pipe()
    environ = {**os.environ, "GLEITZEIT_GGUF": str(tiny_gguf), "GLEITZEIT_READY_FD": str(write_end)}
    process = subprocess.Popen([*COMMAND, "--threads", "1"], env=environ, pass_fds=[write_end])
    os.close(write_end)
    with open(read_end, "rb") as ready:
        assert select.select([ready], [], [], PATIENCE_SECONDS)[0]
        url = json.loads(ready.readline())["url"]
    yield process, url
    process.kill()
    process.wait()


async def ask(url: str) -> dict[str, Any]:
    connection = await connect(url)
    answer: dict[str, Any] = await connection.call("llm/chat", {"prompt": "Hello", "max_tokens": 4})
    await connection.close()
    return answer


def llama_of(pid: int) -> int:
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert b"gz_provider_llm.backends.llama_server" in Path(f"/proc/{child}/cmdline").read_bytes()
    return int(child)


def wait_for_end(pid: int) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while Path(f"/proc/{pid}").exists() and "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text():
        assert time.monotonic() < end, "it lives on"
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_llama_cpp_ends_with_its_provider(
    started: tuple[subprocess.Popen[bytes], str], number: signal.Signals
) -> None:
    process, url = started
    answer = await ask(url)
    assert len(answer["content"].split()) == 4
    assert (answer["model"], answer["provider"]) == ("tiny", "llamacpp")
    child = llama_of(process.pid)
    process.send_signal(number)
    assert process.wait(PATIENCE_SECONDS) == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    wait_for_end(child)


def test_without_a_model_it_says_what_to_do() -> None:
    environ = {name: value for name, value in os.environ.items() if name != "GLEITZEIT_GGUF"}
    ended = subprocess.run(COMMAND, env=environ, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert ended.returncode == 2
    words = "gz-provider-llamacpp: no model: give --model FILE.gguf, or name the file by GLEITZEIT_GGUF"
    assert ended.stderr.strip() == words

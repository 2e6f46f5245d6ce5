"""A real llama-server over the tiny model, for tests: in a process of its own, where it blocks no event loop."""

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import httpx

READY_SECONDS = 20
API_KEY = "sk-a-key-for-tests"


class LlamaServer:
    """`url` is its base, without /v1; `model` is the name of what it serves. The caller calls `stop` once."""

    def __init__(self, model: Path, *options: str, api_key: str = "") -> None:
        self.model = model.stem
        self.file = model
        read_end, write_end = os.pipe()
        parent_end, self._alive = os.pipe()
        environ = {**os.environ, "GLEITZEIT_READY_FD": str(write_end), "GLEITZEIT_PARENT_FD": str(parent_end)}
        if api_key:
            environ["GLEITZEIT_LLAMA_KEY"] = api_key
        command = [sys.executable, "-m", "gz_provider_llm.backends.llama_server", "--model", str(model)]
        self.process = subprocess.Popen(
            [*command, "--threads", "1", *options],
            env=environ,
            stdin=subprocess.DEVNULL,
            pass_fds=(write_end, parent_end),
        )
        os.close(write_end)
        os.close(parent_end)
        with open(read_end, "rb") as ready:
            assert select.select([ready], [], [], READY_SECONDS)[0], "llama-server is not ready"
            line = ready.readline()
        assert line, f"llama-server ended with {self.process.wait()}"
        self.url: str = json.loads(line)["url"]
        self._client = httpx.Client(verify=False)  # of which nothing is to be verified, and that would take 30 ms

    def wait_until_idle(self, seconds: float = 5) -> float:
        """Returns the time, by the monotonic clock, at which it was seen to generate nothing for anybody."""
        end = time.monotonic() + seconds
        while self.is_busy():
            assert time.monotonic() < end, "it computes on for nobody"
        return time.monotonic()

    def is_busy(self) -> bool:
        return any(slot["is_processing"] for slot in self._client.get(f"{self.url}/slots").json())

    def stop(self) -> None:
        self._client.close()
        os.close(self._alive)  # by which it ends, as it does when pytest is killed
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

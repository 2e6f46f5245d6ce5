"""A document wants a model: a stack of ours has what is at hand; where that cannot start, everybody is told why."""

import http.server
import json
import sys
import threading
import time
from pathlib import Path

import pytest
import support

sys.path.insert(0, str(Path(__file__).parents[1] / "services" / "gz_provider_llm"))

import tiny_model
from llama import LlamaServer
from ollama_front import OllamaFront

SOON_SECONDS = 45.0  # about one, on a machine that has nothing else to do; waiting for a model would have no end
DOCUMENT = "name: ask\ntasks: [{id: ask, method: llm/chat, params: {prompt: Hello, model: tiny, max_tokens: 2}}]\n"


@pytest.fixture
def bad_gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which nothing but this file is to be had."""
    file = tmp_path / "bad.gguf"
    file.write_text("not a model")
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GLEITZEIT_OLLAMA_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")
    monkeypatch.setenv("GLEITZEIT_GGUF", str(file))
    (tmp_path / "ask.yaml").write_text(DOCUMENT)
    return file


@pytest.mark.parametrize("command", [["run", "ask.yaml"], ["chat", "Hello"]])
def test_a_stack_of_ours(bad_gguf: Path, tmp_path: Path, command: list[str]) -> None:
    began = time.monotonic()
    ran = support.gz(*command, state=tmp_path / "state", cwd=tmp_path)
    assert time.monotonic() - began < SOON_SECONDS
    assert (ran.returncode, ran.stdout) == (2, "")
    reason = f"provider-llamacpp cannot start: {bad_gguf} is no GGUF file"
    assert ran.stderr.startswith(f"gz: this needs a model (llm/chat), and {reason}")
    assert "ollama pull" in ran.stderr


def test_a_stack_that_runs(bad_gguf: Path, tmp_path: Path) -> None:
    stack = support.Stack(tmp_path / "state", "--provider", "python,llamacpp")
    assert stack.url
    ran = support.gz("run", "ask.yaml", state=stack.state, cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert f"no provider of {stack.url} serves that" in ran.stderr
    assert f"provider-llamacpp cannot start: {bad_gguf} is no GGUF file" in ran.stderr
    assert stack.stop() == 0
    said = [line for line in stack.log.read_text().splitlines() if "stopped: exited" in line]
    assert len(said) == 1
    assert f"stopped: exited with status 2: {bad_gguf} is no GGUF file" in said[0]


class SlowAtFirst(http.server.BaseHTTPRequestHandler):
    """A model server that takes its time to say what it is and has, so that its provider is not ready at once."""

    def do_GET(self) -> None:
        time.sleep(3)
        self._say({"data": [{"id": "tiny"}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self._say({"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]})

    def _say(self, answer: object) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None: ...


def test_a_stack_that_has_just_been_started(bad_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its provider of models is on its way: nobody is told that there is none."""
    monkeypatch.delenv("GLEITZEIT_GGUF")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), SlowAtFirst) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        stack = support.Stack(tmp_path / "state", "--provider", "openai")
        assert stack.url
        ran = support.gz("run", "ask.yaml", "-q", state=stack.state, cwd=tmp_path)
        assert (ran.returncode, ran.stdout.strip()) == (0, "Hello"), ran.stderr
        assert stack.stop() == 0
        server.shutdown()
        thread.join()


def test_one_run_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one begins while the stack of the one before goes on, ends, or has ended."""
    llama = LlamaServer(tiny_model.write_model(tmp_path / "tiny.gguf"), "--context", "1024")
    (tmp_path / "ask.yaml").write_text(DOCUMENT)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    for variable, value in (("OLLAMA_HOST", "127.0.0.1:1"), ("OPENAI_BASE_URL", llama.url)):
        monkeypatch.setenv(variable, value)
    for pause_seconds in (0, 0.1, 0.2, 0.3):
        time.sleep(pause_seconds)
        ran = support.gz("run", "ask.yaml", "-q", state=tmp_path / "state", cwd=tmp_path)
        assert ran.returncode == 0, ran.stderr
        assert len(ran.stdout.split()) == 2
    llama.stop()


@pytest.mark.usefixtures("bad_gguf")
def test_none_at_all_beside_a_stack_that_has_not_ended_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLEITZEIT_GGUF")
    state = tmp_path / "state"
    (tmp_path / "wait.yaml").write_text("name: w\ntasks: [{id: a, method: timer/sleep, params: {seconds: 600}}]\n")
    assert support.gz("run", "--detach", "wait.yaml", state=state, cwd=tmp_path).returncode == 0
    ran = support.gz("run", "ask.yaml", state=state, cwd=tmp_path)
    assert support.gz("down", state=state).returncode == 0
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "OPENAI_API_KEY, ANTHROPIC_API_KEY and GLEITZEIT_GGUF are not set" in ran.stderr
    assert "ollama pull" in ran.stderr
    assert "still goes on" not in ran.stderr


def test_what_was_corrected_counts_at_once(bad_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the stack of the run before, which has read the wrong thing, has not ended yet."""
    state = tmp_path / "state"
    ran = support.gz("run", "ask.yaml", state=state, cwd=tmp_path)
    assert ran.returncode == 2
    monkeypatch.setenv("GLEITZEIT_GGUF", str(tiny_model.write_model(tmp_path / "tiny.gguf")))
    ran = support.gz("run", "ask.yaml", "-q", state=state, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    monkeypatch.delenv("GLEITZEIT_GGUF")
    llama = LlamaServer(tmp_path / "tiny.gguf", "--context", "1024", api_key="sk-right-key")
    monkeypatch.setenv("OPENAI_BASE_URL", llama.url)
    for key, code in (("", 1), ("sk-right-key", 0)):
        monkeypatch.setenv("OPENAI_API_KEY", key)
        ran = support.gz("run", "ask.yaml", "-q", state=state, cwd=tmp_path)
        assert ran.returncode == code, ran.stderr
        assert ("The key comes from the environment variable OPENAI_API_KEY" in ran.stderr) == bool(code)
    llama.stop()


def test_the_models_of_all_providers(bad_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    llama = LlamaServer(tiny_model.write_model(tmp_path / "tiny.gguf"), "--context", "1024")
    ollama = OllamaFront(llama.url, models={"llama3.2:latest": ("completion",)})
    for variable, value in (("OLLAMA_HOST", ollama.url), ("OPENAI_BASE_URL", llama.url)):
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:1")
    stack = support.Stack(tmp_path / "state", "--provider", "ollama,openai,anthropic")
    assert stack.url
    support.wait_for(lambda: support.gz("providers", state=stack.state).stdout.count(" ready ") == 3)
    ran = support.gz("models", "-o", "json", state=stack.state)
    assert [(one["name"], one["provider"]) for one in json.loads(ran.stdout)] == [
        ("llama3.2:latest", "ollama"), ("tiny", "openai")
    ]  # fmt: skip
    assert "anthropic: nobody answers at http://127.0.0.1:1" in ran.stderr
    assert ran.returncode == 0
    assert "llama3.2:latest  ollama" in support.gz("models", state=stack.state).stdout
    assert stack.stop() == 0
    ollama.stop()
    llama.stop()

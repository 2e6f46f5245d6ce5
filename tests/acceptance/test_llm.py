"""One workflow file, unchanged, on every kind of model server: real processes from `gz up` to the tokens.

Inference is that of a real llama-server over a model of random weights, which speaks OpenAI's and Anthropic's wire;
before it stands a small front that speaks Ollama's.
"""

import asyncio
import json
import os
import sys
import time
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest
import support

from gleitzeit.client import Client
from gleitzeit.transport import Connection, connect

sys.path.insert(0, str(Path(__file__).parents[1] / "services" / "gz_provider_llm"))

import tiny_model
from llama import LlamaServer
from ollama_front import OllamaFront

STOP_SECONDS = 0.2
ATTEMPTS = 8
INTERRUPTED = 130
PROVIDERS = ("ollama", "openai", "anthropic", "llamacpp")
CHAIN = """
name: chain
parameters:
  subject: the sea
tasks:
  - id: draft
    method: llm/chat
    params:
      model: tiny
      prompt: "Write about ${parameters.subject}."
      temperature: 0
      max_tokens: 12
  - id: measure
    method: python/execute
    params:
      code: |
        words = '''${draft.response}'''.split()
        result = {"words": len(words), "longest": max(words, key=len)}
  - id: title
    method: llm/chat
    params:
      model: tiny
      system: Answer with a title.
      messages:
        - {role: user, content: "A text of ${measure.words} words: ${draft.result.content}. Use ${measure.longest}."}
      temperature: 0
      max_tokens: 6
outputs:
  draft: ${draft.content}
  longest: ${measure.longest}
  title: ${title.response}
"""
ENDLESS = {
    "id": "endless",
    "method": "llm/chat",
    "params": {"model": "tiny", "prompt": "Go on.", "max_tokens": 8000},
    "timeout": 60,
}


@pytest.fixture(scope="module")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.write_model(tmp_path_factory.mktemp("model") / "tiny.gguf")


@pytest.fixture(scope="module")
def llama(tiny_gguf: Path) -> Iterator[LlamaServer]:
    server = LlamaServer(tiny_gguf, "--parallel", "2", "--context", "16384")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def ollama(llama: LlamaServer) -> Iterator[OllamaFront]:
    front = OllamaFront(llama.url, embeddings=llama.url)
    yield front
    front.stop()


class Served(NamedTuple):
    provider: str
    stack: support.Stack


@pytest.fixture(scope="module", params=PROVIDERS)
def served(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_gguf: Path,
    llama: LlamaServer,
    ollama: OllamaFront,
) -> Iterator[Served]:
    """A stack with that provider, which finds its server by the environment, as a user's would."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OLLAMA_HOST", ollama.url)
        environment.setenv("OPENAI_BASE_URL", llama.url)
        environment.setenv("ANTHROPIC_BASE_URL", llama.url)
        environment.setenv("GLEITZEIT_GGUF", str(tiny_gguf))
        state = tmp_path_factory.mktemp(request.param) / "state"
        stack = support.Stack(state, "--provider", f"python,{request.param}")
        yield Served(request.param, stack)
        assert stack.stop() == 0


class Watcher:
    """Hears everything about all workflows."""

    connection: Connection

    def __init__(self) -> None:
        self.deltas: dict[tuple[str, str], list[str]] = {}
        self.heard = asyncio.Event()

    def hear(self, connection: Connection, method: str, params: msgspec.Raw | None) -> None:
        if method == "notifications/stream":
            said = msgspec.json.decode(params or b"{}")
            self.deltas.setdefault((said["workflow_id"], said["task_id"]), []).append(said["delta"])
        self.heard.set()

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(support.PATIENCE_SECONDS):
            while not condition():
                self.heard.clear()
                await self.heard.wait()


@pytest.fixture
async def watcher(served: Served) -> AsyncIterator[Watcher]:
    """Once both providers are ready."""
    made = Watcher()
    made.connection = await connect(served.stack.url, on_notification=made.hear)
    await support.eventually(lambda: support.providers_ready(made.connection, 2))
    await made.connection.call("workflow.watch", {"stream": True})
    yield made
    await made.connection.close()


def asked_directly(llama: LlamaServer) -> str:
    messages = [{"role": "user", "content": "Write about the sea."}]
    body = {"messages": messages, "temperature": 0, "max_tokens": 12}
    answer = httpx.post(f"{llama.url}/v1/chat/completions", json=body).json()
    return str(answer["choices"][0]["message"]["content"])


async def test_the_same_file_on_every_server(
    served: Served, watcher: Watcher, llama: LlamaServer, tmp_path: Path
) -> None:
    document = tmp_path / "chain.yaml"
    document.write_text(CHAIN)
    ran = await asyncio.to_thread(support.gz, "run", str(document), "-o", "json", state=served.stack.state)
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout)
    outputs, results = answer["outputs"], answer["results"]
    assert outputs["draft"] == results["draft"]["response"] == asked_directly(llama)
    assert results["measure"]["result"] == {"words": 12, "longest": outputs["longest"]}
    assert outputs["longest"] in outputs["draft"]
    assert len(outputs["title"].split()) == 6
    assert results["draft"]["usage"]["output_tokens"] == 12
    assert results["draft"]["provider"] == served.provider
    for task in ("draft", "title"):
        # How many they are is not asked: words that come faster than anybody reads travel together.
        assert "".join(watcher.deltas[answer["workflow_id"], task]) == results[task]["content"]


async def test_cancelling_a_task_stops_its_server(
    served: Served, watcher: Watcher, llama: LlamaServer, ollama: OllamaFront
) -> None:
    """Within 200 ms, in the best of several: this machine may be busy with other things."""
    seconds = []
    while len(seconds) < ATTEMPTS and min(seconds, default=STOP_SECONDS) >= STOP_SECONDS:
        workflow_id = await support.submit(watcher.connection, ENDLESS)
        await watcher.until(lambda workflow_id=workflow_id: watcher.deltas.get((workflow_id, "endless")))
        await support.eventually(lambda: asyncio.to_thread(computing, served, llama))  # it may have to wait for a core
        cancelled_at = time.monotonic()
        state = await watcher.connection.call("workflow.cancel", {"workflow_id": workflow_id})
        assert state["status"] == "cancelled"
        seconds.append(await asyncio.to_thread(idle_at, served, llama, ollama) - cancelled_at)
    assert min(seconds) < STOP_SECONDS


async def test_a_chat_that_is_told_to_end_cancels_its_turn(
    served: Served, watcher: Watcher, llama: LlamaServer, ollama: OllamaFront
) -> None:
    command = [sys.executable, "-m", "gz_cli", "chat", "Go on.", "-m", "tiny", "-p", "max_tokens=8000"]
    environ = {**os.environ, "GLEITZEIT_STATE": str(served.stack.state)}
    chat = await asyncio.create_subprocess_exec(*command, env=environ, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
    await watcher.until(lambda: any(task == "answer" for _, task in watcher.deltas))
    chat.terminate()
    assert await asyncio.wait_for(chat.wait(), support.PATIENCE_SECONDS) == INTERRUPTED
    (workflow_id,) = (workflow_id for workflow_id, task in watcher.deltas if task == "answer")
    view = await watcher.connection.call("workflow.get", {"workflow_id": workflow_id})
    assert view["status"] == "cancelled"
    await asyncio.to_thread(idle_at, served, llama, ollama)


def idle_at(served: Served, llama: LlamaServer, ollama: OllamaFront) -> float:
    """The time, by the monotonic clock, at which the server was found to be generating nothing."""
    end = time.monotonic() + support.PATIENCE_SECONDS
    while computing(served, llama):
        assert time.monotonic() < end, "it computes on for nobody"
    return ollama.seen[-1].closed_early_at if served.provider == "ollama" else time.monotonic()


def computing(served: Served, llama: LlamaServer) -> bool:
    """Whether the server generates something; of llama.cpp as a child, whether it takes processor time."""
    if served.provider != "llamacpp":
        return llama.is_busy()
    pid = served.stack.pid("gz_provider_llm.backends.llama_server")
    before = processor_ticks(pid)
    time.sleep(0.05)
    return processor_ticks(pid) > before + 1


def processor_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


async def test_a_model_that_is_missing(served: Served, watcher: Watcher) -> None:
    task = {"id": "ask", "method": "llm/chat", "params": {"model": "llama3.2", "prompt": "Hello", "max_tokens": 3}}
    workflow_id = await support.submit(watcher.connection, task)
    view = await support.finished(served.stack.url, workflow_id)
    if served.provider in ("openai", "anthropic"):
        assert view["status"] == "completed", "llama-server answers for every name"
        return
    (asked,) = view["tasks"]
    assert (view["status"], asked["attempts"], asked["error"]["name"]) == ("failed", 1, "LLM_MODEL_NOT_FOUND")
    assert "tiny" in asked["error"]["message"]
    hint = "ollama pull llama3.2" if served.provider == "ollama" else "--alias llama3.2"
    assert hint in asked["error"]["message"]


async def test_a_python_program_asks_it(served: Served, tmp_path: Path) -> None:
    """One question, a text as it grows, and one question about many files that this program reads."""
    (tmp_path / "a.txt").write_text("The sea is wide.")
    (tmp_path / "b.txt").write_text("The sky is high.")
    async with await Client.connect(served.stack.url) as client:
        options: dict[str, Any] = {"model": "tiny", "temperature": 0, "max_tokens": 8}
        answer = await client.chat("Why ${is.it} blue?", **options)
        assert answer
        pieces = [piece async for piece in client.chat_stream("Why ${is.it} blue?", **options)]
        assert "".join(pieces) == answer
        # One at a time: what llama.cpp computes side by side is not the same to the last bit, and so not to the word.
        batch = await client.batch_chat(tmp_path, "Sum up.", pattern="*.txt", max_concurrent=1, **options)
        assert (batch.summary.successful, batch.summary.failed) == (2, 0)
        told = await client.chat(f"Sum up.\n\nFile content from {tmp_path}/a.txt:\nThe sea is wide.", **options)
        assert batch.results[f"{tmp_path}/a.txt"].content == told

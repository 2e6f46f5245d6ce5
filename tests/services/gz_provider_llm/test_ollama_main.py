"""`gz-provider-ollama` as a coordinator sees it: its options, and its methods over a socket."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ollama_front import OllamaFront

from gleitzeit.errors import ProviderBusy, TaskCancelled, TaskError
from gleitzeit.transport import Connection, connect
from gz_provider_llm import ollama_main

META = {"workflow_id": "w", "task_id": "t", "attempt": 1, "callId": "w/t/1", "progressToken": "w/t/1"}


class Peer:
    """A connection to the provider, and what it said besides its answers."""

    def __init__(self) -> None:
        self.connection: Connection
        self.said: list[tuple[str, Any]] = []
        self.streaming = asyncio.Event()

    def hear(self, connection: Connection, method: str, params: msgspec.Raw | None) -> None:
        self.said.append((method, msgspec.json.decode(params or b"null")))
        if method == "notifications/stream":
            self.streaming.set()

    def told(self, method: str) -> list[Any]:
        return [params for said, params in self.said if said == f"notifications/{method}"]

    async def call(self, method: str, **params: Any) -> Any:
        return await self.connection.call(method, params, timeout_seconds=20)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "OLLAMA_HOST",
        "OLLAMA_NUM_PARALLEL",
        "OLLAMA_API_KEY",
        "GLEITZEIT_OLLAMA_URL",
        "GLEITZEIT_DEFAULT_MODEL",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def peer(ollama: OllamaFront) -> AsyncIterator[Peer]:
    provider = ollama_main.provider(ollama_main.parser().parse_args(["--url", ollama.url]))
    peer = Peer()
    async with provider.serve() as service:
        peer.connection = await connect(service.url, on_notification=peer.hear)
        yield peer
        await peer.connection.close()


async def test_a_chat_streams_to_the_caller(peer: Peer) -> None:
    result = await peer.call("llm/chat", prompt="Hello", max_tokens=5, seed=1, _meta=META)
    deltas = peer.told("stream")
    assert [delta["seq"] for delta in deltas] == list(range(1, len(deltas) + 1))
    assert "".join(delta["delta"] for delta in deltas) == result["content"] == result["response"]
    assert result["usage"]["output_tokens"] == result["eval_count"] == 5
    assert {"total", "first_token", "load", "prompt", "generate"} <= result["timings_ms"].keys()
    assert (result["provider"], result["finish_reason"], result["model"]) == ("ollama", "length", "tiny:latest")


async def test_every_method(peer: Peer, tmp_path: Path) -> None:
    assert (await peer.call("llm/complete", prompt="Hello", max_tokens=3))["text"]
    picture = tmp_path / "dot.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    assert (await peer.call("llm/vision", prompt="What?", image_path=str(picture), max_tokens=3))["content"]
    assert (await peer.call("llm/embed", text="sea"))["dimensions"] == 64
    assert (await peer.call("llm/list_models"))["names"] == ["tiny:latest"]


async def test_a_strategy_of_which_nothing_is_known_is_told(peer: Peer) -> None:
    result = await peer.call("llm/chat", model="tiny", prompt="x", load_balancing_strategy="weighted")
    assert result["warnings"] == ["load_balancing_strategy: nothing is known for weighted; the usual choice was made"]
    assert "warnings" not in await peer.call(
        "llm/chat", model="tiny", prompt="x", load_balancing_strategy="round_robin"
    )


async def test_a_value_by_a_schema(peer: Peer) -> None:
    schema = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"]}
    result = await peer.call("llm/chat", prompt="Which?", response_format=schema, max_tokens=400)
    assert result["json"]["colour"] in ("red", "blue")


async def test_a_missing_model_says_what_there_is_and_how_to_get_it(peer: Peer) -> None:
    with pytest.raises(TaskError, match=r"no model 'tiny-2'.*has tiny:latest.*ollama pull tiny-2") as caught:
        await peer.call("llm/chat", prompt="Hello", model="tiny-2")
    assert caught.value.data is not None
    assert caught.value.data["name"] == "LLM_MODEL_NOT_FOUND"
    assert caught.value.data["models"] == ["tiny:latest"]
    assert caught.value.data["retryable"] is False


async def test_a_model_is_pulled_on_request(peer: Peer, ollama: OllamaFront) -> None:
    ollama.library["new:latest"] = 4000
    result = await peer.call("llm/chat", prompt="Hello", model="new", pull=True, max_tokens=3, _meta=META)
    assert result["model"] == "new"
    progress = peer.told("progress")
    assert {"progress": 2000, "total": 4000} in [
        {key: value for key, value in told.items() if key in ("progress", "total")} for told in progress
    ]


async def test_a_full_queue_is_not_an_attempt(peer: Peer, ollama: OllamaFront) -> None:
    ollama.refused["/api/chat"] = 503
    with pytest.raises(ProviderBusy) as caught:
        await peer.call("llm/chat", prompt="Hello", model="tiny")
    assert caught.value.data is not None
    assert caught.value.data["retryAfterSeconds"] > 0


async def test_cancelling_reaches_the_server(peer: Peer, ollama: OllamaFront) -> None:
    running = asyncio.create_task(peer.call("llm/chat", prompt="Hello", max_tokens=8000, _meta=META))
    async with asyncio.timeout(30):
        await peer.streaming.wait()
        peer.connection.notify("notifications/cancelled", {"callId": "w/t/1", "reason": "enough"})
        with pytest.raises(TaskCancelled):
            await running
    assert await asyncio.to_thread(ollama.seen[-1].closed_early.wait, 5)


async def test_a_key_goes_along_and_is_told_to_nobody(ollama: OllamaFront, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", "my-key")
    ollama.refused["/api/tags"] = 404
    provider = ollama_main.provider(ollama_main.parser().parse_args(["--url", ollama.url]))
    async with provider.serve() as service:
        connection = await connect(service.url)
        with pytest.raises(TaskError) as caught:
            await connection.call("llm/models")
        await connection.close()
    assert ollama.seen[0].headers["authorization"] == "Bearer my-key"
    assert "my-key" not in f"{caught.value.message} {caught.value.data}"


def instances(*arguments: str) -> list[str]:
    made = ollama_main.parser().parse_args(arguments)
    return ollama_main._urls(made)


def test_where_it_looks(monkeypatch: pytest.MonkeyPatch, ollama: OllamaFront) -> None:
    assert instances() == ["http://127.0.0.1:11434"]
    monkeypatch.setenv("OLLAMA_HOST", "box:1")
    assert instances() == ["http://box:1"]
    assert instances("--url", "a", "--url", "http://b:2") == ["http://a:11434", "http://b:2"]
    port = ollama.url.rpartition(":")[2]
    assert instances("--discover", port) == [ollama.url]
    assert instances("--url", "a:1", "--discover", port) == ["http://a:1", ollama.url]
    assert instances("--discover", "1-2") == ["http://127.0.0.1:1", "http://127.0.0.1:2"], "nobody there yet"
    monkeypatch.setenv("GLEITZEIT_OLLAMA_DISCOVER", "7-8")
    assert instances("--url", "a:1") == ["http://a:1", "http://127.0.0.1:7", "http://127.0.0.1:8"]


def test_capacity_follows_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    def capacity(*arguments: str) -> int:
        return ollama_main.provider(ollama_main.parser().parse_args(arguments)).capacity

    assert capacity() == 1
    assert capacity("--url", "a", "--url", "b", "--slots", "3") == 6
    monkeypatch.setenv("OLLAMA_NUM_PARALLEL", "4")
    assert capacity() == 4
    monkeypatch.setenv("GLEITZEIT_LLM_CAPACITY", "3")
    assert ollama_main.parser().parse_args([]).capacity == 3


@pytest.mark.parametrize("arguments", [["--url", "http://x:99999"], ["--discover", "x"], ["--slots", "0"]])
def test_wrong_options(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        ollama_main.parser().parse_args(arguments)
    assert caught.value.code == 2
    assert arguments[0] in capsys.readouterr().err

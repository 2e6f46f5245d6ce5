"""The Ollama back end over Ollama's wire, with real inference behind it."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from fake_server import FakeServer, answer, fake_server, stream
from llama import LlamaServer
from ollama_front import ALL, BUSY, BreakOff, OllamaFront, Refuse

from gleitzeit.errors import GleitzeitError
from gz_provider_llm.backends.ollama import Ollama
from gz_provider_llm.backends.ollama_instances import Instance, Instances
from gz_provider_llm.errors import (
    BadRequest,
    ContextOverflow,
    IdleTimeout,
    ModelNotFound,
    RateLimited,
    ServerError,
    StreamCut,
    Unreachable,
)
from gz_provider_llm.shapes.files import Image
from gz_provider_llm.shapes.requests import ChatRequest, EmbedRequest, Message, Tool
from gz_provider_llm.transport.http import Http

PNG = Image("image/png", "iVBORw0KGgo=")
COLOUR = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"]}

Make = Callable[..., Ollama]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """A back end over the fronts, or URLs, that it is given; closed at the end."""
    made: list[Ollama] = []

    def backend(*servers: OllamaFront | str, idle_timeout_seconds: float = 10, slots: int = 2) -> Ollama:
        urls = [server if isinstance(server, str) else server.url for server in servers]
        https = [Http(url, idle_timeout_seconds=idle_timeout_seconds, busy_statuses=(429, 503)) for url in urls]
        made.append(Ollama(Instances([Instance(http, slots) for http in https])))
        return made[-1]

    yield backend
    for one in made:
        await one.close()


@pytest.fixture
def backend(make: Make, ollama: OllamaFront) -> Ollama:
    return make(ollama)


@pytest.fixture
def other(llama_server: LlamaServer) -> Iterator[OllamaFront]:
    front = OllamaFront(llama_server.url)
    yield front
    front.stop()


def ask(text: str = "Who are you?", **more: Any) -> ChatRequest:
    message = Message(role="user", content=text, images=more.pop("images", ()))
    return ChatRequest(**{"model": "tiny", "messages": (message,), "seed": 1, "max_tokens": 6, **more})


def ignore(delta: str) -> None:
    pass


async def test_a_chat_is_streamed(backend: Ollama, ollama: OllamaFront) -> None:
    deltas: list[str] = []
    result = await backend.chat(ask(), deltas.append)
    assert len(deltas) == 6
    assert result.content == "".join(deltas)
    assert result.finish_reason == "length"
    assert result.usage is not None
    assert (result.usage.input_tokens > 10, result.usage.output_tokens) == (True, 6)
    assert result.timings_ms.keys() == {"load", "prompt", "generate"}
    assert ollama.url.endswith(result.provider_id)
    assert (await backend.chat(ask(), ignore)).content == result.content, "the seed decides"


async def test_without_a_stream_nobody_hears_before_the_end(backend: Ollama) -> None:
    deltas: list[str] = []
    result = await backend.chat(ask(stream=False), deltas.append)
    assert len(result.content.split()) == 6
    assert deltas == []


async def test_json_by_a_schema(backend: Ollama) -> None:
    result = await backend.chat(ask(json=True, json_schema=COLOUR, max_tokens=300), ignore)
    assert '"colour"' in result.content
    assert "red" in result.content or "blue" in result.content
    assert result.finish_reason == "stop"


async def test_a_tool_is_called(backend: Ollama, ollama: OllamaFront) -> None:
    tools = (Tool("paint", "Paint it.", COLOUR),)
    result = await backend.chat(ask(tools=tools, tool_name="paint"), ignore)
    (call,) = result.tool_calls
    assert (call.name, result.finish_reason) == ("paint", "tool_calls")
    assert call.arguments["colour"] in ("red", "blue")
    said = Message(role="assistant", tool_calls=result.tool_calls)
    answered = Message(role="tool", content="done", tool_call_id=call.id)
    talk = ask(tools=tools).with_messages(said, answered)
    assert len((await backend.chat(talk, ignore)).content.split()) == 6


async def test_images_go_along(backend: Ollama, ollama: OllamaFront) -> None:
    assert (await backend.chat(ask(images=(PNG,)), ignore)).content
    assert ollama.asked("/api/chat")[0]["messages"][0]["images"] == [PNG.data_base64]


async def test_thoughts_are_kept_apart(backend: Ollama) -> None:
    deltas: list[str] = []
    result = await backend.chat(ask(reasoning_effort="high"), deltas.append)
    assert len(result.reasoning.split()) == 3
    assert "".join(deltas) == result.content
    assert len(result.content.split()) == 3


async def test_a_model_that_cannot_think_is_asked_without(backend: Ollama, ollama: OllamaFront) -> None:
    ollama.models["tiny:latest"] = ("completion",)
    assert (await backend.chat(ask(reasoning_effort="high"), ignore)).content
    assert (await backend.chat(ask(reasoning_effort="high"), ignore)).content
    assert ["think" in body for body in ollama.asked("/api/chat")] == [True, False, False]


SAID = stream('{"message": {"content": "x"}, "done": true}\n')


async def test_a_model_that_only_knows_whether_to_think_is_asked_so(make: Make) -> None:
    refusal = answer(400, {"error": 'think value "high" is not supported for this model'})
    async with fake_server(refusal, SAID) as server:
        backend = make(server.url)
        for _ in range(2):
            assert (await backend.chat(ask(reasoning_effort="high"), ignore)).warnings == ()
        assert (await backend.chat(ask(reasoning_effort="none"), ignore)).warnings == ()
        assert [asked.body["think"] for asked in server.asked] == ["high", True, True, False]


async def test_that_a_model_cannot_think_is_told(make: Make) -> None:
    refusal = answer(400, {"error": '"tiny" does not support thinking'})
    async with fake_server(refusal, SAID) as server:
        result = await make(server.url).chat(ask(reasoning_effort="high"), ignore)
        assert result.warnings == ("tiny takes no reasoning_effort: it was left out",)


async def test_a_server_from_before_there_were_many_embeddings_at_once(make: Make) -> None:
    script = (answer(404, "404 page not found"), answer(200, {"embedding": [1.0]}), answer(200, {"embedding": [2.0]}))
    async with fake_server(*script) as server:
        backend = make(server.url)
        assert (await backend.embed(EmbedRequest(model="tiny", inputs=("a", "b")))).embeddings == [[1.0], [2.0]]
        assert [asked.path for asked in server.asked] == ["/api/embed", "/api/embeddings", "/api/embeddings"]
        assert server.asked[1].body == {"model": "tiny", "prompt": "a"}
        await backend.embed(EmbedRequest(model="tiny", inputs=("a",)))
        assert server.asked[3].path == "/api/embeddings"
        with pytest.raises(BadRequest, match="dimensions"):
            await backend.embed(EmbedRequest(model="tiny", inputs=("a",), dimensions=3))


async def test_images_in_the_web_are_not_for_ollama(make: Make) -> None:
    with pytest.raises(BadRequest, match="fetches no images"):
        await make("http://127.0.0.1:1").chat(ask(images=(Image("", "", "https://example.org/a.png"),)), ignore)


@pytest.mark.parametrize("status", [404, 405])
async def test_a_server_without_chat_is_asked_by_generate(backend: Ollama, ollama: OllamaFront, status: int) -> None:
    ollama.refused["/api/chat"] = status
    deltas: list[str] = []
    result = await backend.chat(ask(), deltas.append)
    assert len(deltas) == 6
    assert result.content == "".join(deltas)
    await backend.chat(ask(), ignore)
    assert [seen.path for seen in ollama.seen] == ["/api/chat", "/api/generate", "/api/generate"]


async def test_a_raw_prompt(backend: Ollama, ollama: OllamaFront) -> None:
    assert (await backend.chat(ask("the sea", raw=True), ignore)).content
    assert ollama.asked("/api/generate")[0]["raw"] is True


async def test_embeddings(backend: Ollama) -> None:
    result = await backend.embed(EmbedRequest(model="tiny", inputs=("sea", "a red house")))
    assert [len(vector) for vector in result.embeddings] == [64, 64]
    assert result.usage is not None
    assert result.usage.input_tokens > 0


async def test_models(backend: Ollama, ollama: OllamaFront) -> None:
    ollama.models["other:7b"] = ("completion",)
    await backend.chat(ask(), ignore)
    other, tiny = await backend.models()
    assert (other.name, other.loaded, tiny.name, tiny.loaded) == ("other:7b", False, "tiny:latest", True)
    assert (tiny.context_tokens, tiny.size_bytes) == (32768, 769_056)
    assert tiny.details["capabilities"] == list(ALL)
    assert tiny.provider_ids == (ollama.url.removeprefix("http://"),)


async def test_what_does_not_tell_what_it_has_loaded_is_asked_nevertheless(
    backend: Ollama, ollama: OllamaFront
) -> None:
    ollama.refused["/api/ps"] = 404
    assert [(model.name, model.loaded) for model in await backend.models()] == [("tiny:latest", False)]


async def test_a_schema_that_it_cannot_follow_is_told_in_words(make: Make) -> None:
    script = (
        answer(500, {"error": "invalid JSON schema in format"}),
        answer(200, {"message": {"content": "{}"}, "done": True}),
    )
    async with fake_server(*script) as server:
        result = await make(server.url).chat(ask(json=True, json_schema=COLOUR), ignore)
    assert (server.asked[1].body["format"], "in words" in result.warnings[0]) == ("json", True)
    assert "enum" in server.asked[1].body["messages"][0]["content"]


async def test_an_error_in_place_of_embeddings(make: Make) -> None:
    async with fake_server(answer(200, {"error": "this model does not support embeddings"})) as server:
        with pytest.raises(BadRequest, match="does not support embeddings"):
            await make(server.url).embed(EmbedRequest(model="tiny", inputs=("a",)))


async def test_a_missing_model(backend: Ollama) -> None:
    with pytest.raises(ModelNotFound, match=r"has no model llama3.2; there are: tiny:latest\.") as caught:
        await backend.chat(ask(model="llama3.2"), ignore)
    assert caught.value.data == {"model": "llama3.2", "models": ["tiny:latest"], "hint": "ollama pull llama3.2"}
    assert not caught.value.retryable


async def test_a_model_that_it_lists_and_does_not_give(backend: Ollama, ollama: OllamaFront) -> None:
    """Why, it says itself; to pull what is there is no advice."""
    ollama.faults.append(Refuse(404, "model 'tiny' not found: a blob of it is missing"))
    with pytest.raises(ModelNotFound, match="a blob of it is missing") as caught:
        await backend.chat(ask(), ignore)
    assert "pull" not in caught.value.message


async def test_pull(backend: Ollama, ollama: OllamaFront) -> None:
    ollama.library["new:latest"] = 4000
    told: list[tuple[float, float | None, str]] = []
    await backend.pull("new", lambda done, total, words: told.append((done, total, words)))
    assert told[0] == (0, None, "pulling manifest")
    assert told[-1] == (4000, 4000, "success")
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert (await backend.chat(ask(model="new"), ignore)).content
    with pytest.raises(ModelNotFound, match="no model nonsense in Ollama's library"):
        await backend.pull("nonsense", lambda *told: None)


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (Refuse(503, BUSY), RateLimited, "maximum pending requests"),
        (Refuse(429, "slow down", {"Retry-After": "7"}), RateLimited, "slow down"),
        (Refuse(500, "llama runner process has terminated"), ServerError, "terminated"),
        (Refuse(400, "the input length exceeds the context length"), ContextOverflow, "context length"),
        (Refuse(400, "invalid options: num_ctxx"), BadRequest, "num_ctxx"),
        (BreakOff(2, "error"), ServerError, "unexpected EOF"),
        (BreakOff(2, "cut"), StreamCut, "broke off"),
        (BreakOff(2, "garbage"), ServerError, "no JSON"),
        (BreakOff(2, "hang"), IdleTimeout, "said nothing for 1.5 s"),
    ],
)
async def test_faults(make: Make, ollama: OllamaFront, fault: Any, error: type[GleitzeitError], words: str) -> None:
    hangs = {"idle_timeout_seconds": 1.5} if error is IdleTimeout else {}  # else the model has all the time it needs
    backend = make(ollama, **hangs)
    ollama.faults.append(fault)
    with pytest.raises(error, match=words) as caught:
        await backend.chat(ask(), ignore)
    assert caught.value.retryable == (error not in (ContextOverflow, BadRequest))
    if isinstance(caught.value, RateLimited):
        assert caught.value.retry_after_seconds == (7 if "slow" in words else 10)
    assert (await backend.chat(ask(), ignore)).content, "the next call is none the worse for it"


async def test_a_long_prompt_overflows_the_context(backend: Ollama) -> None:
    with pytest.raises(ContextOverflow, match="context size"):
        await backend.chat(ask("sea " * 20_000), ignore)


async def test_what_a_model_cannot_do_is_final(backend: Ollama, ollama: OllamaFront) -> None:
    ollama.models["tiny:latest"] = ("completion",)
    with pytest.raises(BadRequest, match="does not support embeddings"):
        await backend.embed(EmbedRequest(model="tiny", inputs=("sea",)))
    with pytest.raises(BadRequest, match="does not support tools"):
        await backend.chat(ask(tools=(Tool("paint", "", COLOUR),)), ignore)
    with pytest.raises(BadRequest, match="image input"):
        await backend.chat(ask(images=(PNG,)), ignore)


async def test_nobody_is_there(make: Make, ollama: OllamaFront) -> None:
    ollama.stop()
    with pytest.raises(Unreachable, match="connection refused"):
        await make(ollama).chat(ask(), ignore)
    with pytest.raises(Unreachable, match=r"no Ollama answers at .*: ollama serve"):
        await make(ollama, "http://127.0.0.1:1").chat(ask(), ignore)
    with pytest.raises(Unreachable):
        await make(ollama).models()


async def test_somebody_else_is_there(make: Make, llama_server: LlamaServer) -> None:
    backend = make(llama_server.url)
    with pytest.raises(GleitzeitError):
        await backend.chat(ask(), ignore)
    with pytest.raises(GleitzeitError):
        await backend.models()


async def test_cancelling_stops_the_server(backend: Ollama, ollama: OllamaFront, llama_server: LlamaServer) -> None:
    """Within 200 ms, in the best of several: this machine may be busy with other things."""
    seconds: list[float] = []
    while len(seconds) < 8 and min(seconds, default=1.0) >= 0.2:
        begun = asyncio.Event()
        running = asyncio.create_task(backend.chat(ask(max_tokens=8000), lambda delta, begun=begun: begun.set()))
        async with asyncio.timeout(30):
            await begun.wait()
        cancelled_at = time.monotonic()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await asyncio.to_thread(ollama.seen[-1].closed_early.wait, 30)
        await asyncio.to_thread(llama_server.wait_until_idle, 30)
        seconds.append(ollama.seen[-1].closed_early_at - cancelled_at)
    assert min(seconds) < 0.2


async def test_the_server_that_holds_the_model_is_asked(make: Make, ollama: OllamaFront, other: OllamaFront) -> None:
    other.models = {"other:latest": ALL}
    both = make(ollama, other)
    assert both.capacity == 4
    assert other.url.endswith((await both.chat(ask(model="other"), ignore)).provider_id)
    assert ollama.url.endswith((await both.chat(ask(), ignore)).provider_id)
    first, second = await both.models()
    assert (first.name, second.name) == ("other:latest", "tiny:latest")
    assert first.provider_ids + second.provider_ids == tuple(
        front.url.removeprefix("http://") for front in (other, ollama)
    )
    with pytest.raises(ModelNotFound, match="there are: other:latest, tiny:latest"):
        await both.chat(ask(model="third"), ignore)


async def test_the_server_that_has_it_loaded_is_preferred(make: Make, ollama: OllamaFront, other: OllamaFront) -> None:
    other.loaded = ["tiny:latest"]
    both = make(ollama, other)
    for _ in range(2):
        assert other.url.endswith((await both.chat(ask(), ignore)).provider_id)
    assert not ollama.asked("/api/chat")


async def test_calls_are_spread(make: Make, ollama: OllamaFront, other: OllamaFront) -> None:
    both = make(ollama, other, slots=1)
    ollama.pause_seconds = other.pause_seconds = 0.01
    results = await asyncio.gather(*(both.chat(ask(), ignore) for _ in range(2)))
    assert len({result.provider_id for result in results}) == 2


@pytest.fixture
def both(make: Make, ollama: OllamaFront, other: OllamaFront) -> Ollama:
    """The first of the two is the one that is asked first."""
    ollama.loaded = ["tiny:latest"]
    return make(ollama, other)


async def test_a_server_that_starts_later_is_found(make: Make, ollama: OllamaFront) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    backend = make(ollama, *(f"http://127.0.0.1:{port + more}" for more in (0, 1, 2)))
    await backend.follow()
    assert backend.capacity == 2
    with pytest.raises(ModelNotFound):
        await backend.chat(ask(model="later"), ignore)
    held = answer(200, {"models": [{"name": "later:latest"}]})
    async with await asyncio.start_server(FakeServer([held, held, SAID]).serve, "127.0.0.1", port):
        assert (await backend.chat(ask(model="later"), ignore)).content == "x"
        assert backend.capacity == 4


async def test_capacity_is_that_of_the_servers_that_answer(make: Make, ollama: OllamaFront) -> None:
    both = make(ollama.url, "http://127.0.0.1:1")
    assert both.capacity == 2 * make(ollama.url).capacity, "nobody has looked yet"
    await both.follow()
    assert both.capacity == make(ollama.url).capacity
    await make("http://127.0.0.1:1", "http://127.0.0.1:2").follow()


async def test_another_server_takes_over_from_a_full_one(both: Ollama, ollama: OllamaFront, other: OllamaFront) -> None:
    ollama.faults.append(Refuse(503, BUSY))
    assert other.url.endswith((await both.chat(ask(), ignore)).provider_id)
    for front in (ollama, other):
        front.faults.append(Refuse(503, BUSY))
    with pytest.raises(RateLimited):
        await both.chat(ask(), ignore)


async def test_another_server_takes_over_from_one_without_the_model(
    both: Ollama, ollama: OllamaFront, other: OllamaFront
) -> None:
    await both.chat(ask(), ignore)
    del ollama.models["tiny:latest"]
    for _ in range(2):
        assert other.url.endswith((await both.chat(ask(), ignore)).provider_id)
    assert len(ollama.asked("/api/chat")) == 2, "it is not asked again for what it has not"


async def test_another_server_takes_over_from_one_that_is_gone(
    both: Ollama, ollama: OllamaFront, other: OllamaFront
) -> None:
    assert ollama.url.endswith((await both.chat(ask(), ignore)).provider_id)
    ollama.stop()
    assert other.url.endswith((await both.chat(ask(), ignore)).provider_id)
    (tiny,) = await both.models()
    assert tiny.provider_ids == (other.url.removeprefix("http://"),)


async def test_what_was_pulled_meanwhile_is_found(make: Make, ollama: OllamaFront, other: OllamaFront) -> None:
    both = make(ollama, other)
    await both.chat(ask(), ignore)
    other.models["new:latest"] = ALL
    assert other.url.endswith((await both.chat(ask(model="new"), ignore)).provider_id)

"""llm/v1 as a coordinator sees it: over a socket, with servers behind it that misbehave, and a real one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fake_server import AT_ONCE_SECONDS, Answer, FakeServer, answer, fake_server, hang, slam, sse, stream
from llama import LlamaServer
from samples import PNG, SCHEMA, USAGE, chunk, encoded, end

from gleitzeit.errors import GleitzeitError, InvalidParams, ProviderBusy, TaskCancelled, TaskError, TaskTimeout
from gleitzeit.schemas import builtin
from gleitzeit.transport import Connection, connect
from gz_provider_llm.backends.backend import Backend, OnDelta, OnProgress
from gz_provider_llm.backends.openai import OpenAI
from gz_provider_llm.errors import ModelNotFound
from gz_provider_llm.methods import METHODS, Settings, build
from gz_provider_llm.shapes.requests import ChatRequest, EmbedRequest
from gz_provider_llm.shapes.results import ChatResult, EmbedResult, ModelInfo
from gz_provider_llm.transport.http import Http

NO_MODEL = answer(404, {"error": {"message": "The model `m` does not exist"}})


class Peer:
    """A connection to the provider, the server behind that, and what the provider said besides its answers."""

    def __init__(self, connection: Connection, server: FakeServer) -> None:
        self.connection = connection
        self.server = server
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.budget: dict[str, int] = {}

    async def call(self, method: str, /, **params: Any) -> Any:
        meta = {"progressToken": "t", "budget": self.budget}
        return await self.connection.call(f"llm/{method}", {"_meta": meta, **params})

    async def failure(self, method: str, /, **params: Any) -> tuple[str, GleitzeitError]:
        with pytest.raises(GleitzeitError) as caught:
            await self.call(method, **params)
        return (caught.value.data or {}).get("name", ""), caught.value

    def streamed(self) -> str:
        return "".join(params["delta"] for method, params in self.said if method == "notifications/stream")

    def logged(self) -> list[str]:
        return [params["data"] for method, params in self.said if method == "notifications/message"]

    def progress(self) -> list[tuple[float, float]]:
        return [(p["progress"], p["total"]) for method, p in self.said if method == "notifications/progress"]


@asynccontextmanager
async def serving(backend: Backend, server: FakeServer, settings: Settings) -> AsyncIterator[Peer]:
    async with build(backend, settings).serve() as service:
        said: list[tuple[str, dict[str, Any]]] = []

        def hear(connection: Connection, method: str, params: msgspec.Raw | None) -> None:
            said.append((method, msgspec.json.decode(params or b"{}")))

        connection = await connect(service.url, on_notification=hear)
        peer = Peer(connection, server)
        peer.said = said
        try:
            yield peer
        finally:
            await connection.close()


@asynccontextmanager
async def peer(
    *script: Answer,
    folder: Path = Path("/"),
    idle: float = 60,
    budget: dict[str, int] | None = None,
    **settings: Any,
) -> AsyncIterator[Peer]:
    async with fake_server(*script) as server:
        backend = OpenAI(Http(server.url, idle_timeout_seconds=idle), is_openai=False)
        async with serving(backend, server, Settings(directory=folder, **settings)) as made:
            made.budget = budget or {}
            yield made


def saying(*pieces: str, reason: str = "stop") -> Answer:
    return stream(sse(*(chunk(content=piece) for piece in pieces), end(reason), USAGE, "[DONE]"))


CALLS_G = stream(sse(chunk(tool_calls=[{"index": 0, "id": "a", "function": {"name": "g"}}]), end("tool_calls")))


def models(*names: str) -> Answer:
    return answer(200, {"data": [{"id": name} for name in names]})


def test_it_serves_all_of_llm_v1() -> None:
    provider = build(OpenAI(Http("http://127.0.0.1:1"), is_openai=False, capacity=5), Settings(directory=Path("/")))
    assert sorted(provider.methods) == builtin().names("llm/v1") == sorted(f"llm/{name}" for name in METHODS)
    assert (provider.name, provider.capacity) == ("openai", 5)
    assert provider.methods["llm/chat"].schema.timeout_seconds is None  # an answer may take as long as it comes


async def test_the_whole_result() -> None:
    async with peer(saying("Hel", "lo")) as made:
        result = await made.call("chat", model="m", prompt="hi")
        timings = result.pop("timings_ms")
        assert timings["total"] >= timings["first_token"] > 0
        assert result.pop("total_duration") == pytest.approx(timings["total"] * 1e6, rel=0.01)
        assert result == {
            "response": "Hello", "content": "Hello", "role": "assistant",
            "message": {"role": "assistant", "content": "Hello"}, "model": "m-1", "finish_reason": "stop",
            "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}, "tokens_used": 5,
            "prompt_eval_count": 3, "eval_count": 2, "done": True, "provider": "openai", "provider_id": "openai",
            "requests": 1,
        }  # fmt: skip
        assert made.streamed() == "Hello"


@pytest.mark.parametrize("method", ["generate", "complete"])
async def test_generate_has_a_text(method: str) -> None:
    async with peer(saying("Hello")) as made:
        assert (await made.call(method, model="m", prompt="hi"))["text"] == "Hello"


async def test_without_a_stream() -> None:
    body = {"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}
    async with peer(answer(200, body)) as made:
        result = await made.call("chat", model="m", prompt="hi", stream=False)
        assert (result["content"], result["usage"], result["tokens_used"]) == ("Hello", None, None)
        assert result["timings_ms"].keys() == {"total"}
        assert made.streamed() == ""
        assert "stream" not in made.server.asked[0].body


async def test_what_a_server_has_no_place_for_is_said() -> None:
    async with peer(saying("x")) as made:
        result = await made.call("chat", model="m", prompt="hi", num_ctx=100)
        assert result["warnings"] == ["openai knows no num_ctx: it was left out"]
        assert made.logged() == result["warnings"]


async def test_an_answer_that_ends_before_it_begins_is_told() -> None:
    async with peer(saying(reason="length"), CALLS_G, saying("x", reason="length")) as made:
        result = await made.call("chat", model="m", prompt="hi")
        assert "before the answer began" in result["warnings"][0]
        assert made.logged() == result["warnings"]
        assert "warnings" not in await made.call("chat", model="m", prompt="hi", tools=[{"name": "g"}])
        assert "warnings" not in await made.call("chat", model="m", prompt="hi")


async def test_an_option_that_nobody_knows_is_named() -> None:
    vector = answer(200, {"data": [{"index": 0, "embedding": [0.5]}]})
    async with peer(saying("x"), vector, saying("x")) as made:
        result = await made.call("chat", model="m", prompt="hi", options={"mirostatt": 1, "min_p": 0.1})
        warning = "options: openai knows no mirostatt (did you mean mirostat?); the server may have ignored it"
        assert result["warnings"] == [warning]
        assert made.server.asked[0].body["mirostatt"] == 1, "it may know more than we do"
        result = await made.call("embeddings", model="m", input="hi", options={"x": 1})
        assert result["warnings"] == ["options: openai knows no x; the server may have ignored it"]
        assert "warnings" not in await made.call("chat", model="m", prompt="hi", options={"min_p": 0.1})
    told = [{"token": "o", "logprob": -0.1}, {"token": "k", "logprob": -0.2}]
    pieces = [{"choices": [{"index": 0, "delta": {}, "logprobs": {"content": [one]}}]} for one in told]
    async with peer(stream(sse(*pieces, end("stop"), "[DONE]"))) as made:
        result = await made.call("chat", model="m", prompt="hi", options={"logprobs": True, "n": 2})
        assert result["logprobs"] == told
        assert result["warnings"] == ["options: of 2 answers (n) the first is taken"]


@pytest.mark.parametrize(
    ("method", "params", "message"),
    [
        ("chat", {}, "needs 'messages', 'prompt'"),
        ("chat", {"prompt": "x", "temprature": 1}, "did you mean temperature"),
        ("chat", {"prompt": "x", "temperature": 3}, "temperature"),
        ("chat", {"prompt": "x", "batch_mode": True}, "needs 'files'"),
        ("chat", {"prompt": "x", "raw": True}, "raw"),
        ("chat", {"prompt": "x", "directory": "d"}, "directory"),
        ("chat", {"messages": [{"role": "robot"}]}, "robot"),
        ("vision", {"prompt": "x"}, "image_path"),
        ("embeddings", {}, "input"),
        ("embeddings", {"text": "a", "input": "b"}, "only one"),
        ("models", {"x": 1}, "x"),
    ],
)
async def test_wrong_params_are_named(method: str, params: dict[str, Any], message: str) -> None:
    async with peer(saying("x")) as made:
        with pytest.raises(InvalidParams, match=message):
            await made.call(method, **params)
        assert made.server.asked == []


# Models


async def test_a_model_that_is_not_there_is_told_with_those_that_are() -> None:
    async with peer(NO_MODEL, models("llama3.2", "qwen3")) as made:
        name, error = await made.failure("chat", model="lama3.2", prompt="hi")
        assert name == "LLM_MODEL_NOT_FOUND"
        assert error.message == "openai has no model 'lama3.2'; it has llama3.2, qwen3 (did you mean 'llama3.2'?)"
        assert error.data is not None
        assert (error.data["model"], error.data["models"]) == ("lama3.2", ["llama3.2", "qwen3"])
        assert error.data["retryable"] is False


async def test_a_model_that_is_not_there_at_a_server_that_lists_none() -> None:
    async with peer(NO_MODEL, answer(500, "")) as made:
        name, error = await made.failure("chat", model="m", prompt="hi")
        assert name == "LLM_MODEL_NOT_FOUND"
        assert "does not exist" in error.message


async def test_without_a_name_the_default_or_the_only_model() -> None:
    async with peer(saying("x"), default_models={"chat": "d", "vision": "v"}) as made:
        await made.call("chat", prompt="hi")
        await made.call("vision", prompt="hi", image_data=encoded(PNG))
        await made.failure("embeddings", text="hi")
        assert [asked.body["model"] for asked in made.server.asked] == ["d", "v", "d"]
    async with peer(answer(500, ""), default_models={"chat": "d", "embeddings": "e"}) as made:
        await made.failure("embeddings", text="hi")
        assert made.server.asked[0].body["model"] == "e"
    async with peer(models("only"), saying("x")) as made:
        await made.call("chat", prompt="hi")
        assert made.server.asked[1].body["model"] == "only"
    for listed, method, more, model in (
        (("a", "llama3.2:latest", "llama3"), "chat", {}, "llama3.2"),
        (("a", "llama3"), "generate", {}, "llama3"),
        (("llama3.2", "llava"), "vision", {"image_data": encoded(PNG)}, "llava"),
    ):
        async with peer(models(*listed), saying("x")) as made:
            await made.call(method, prompt="hi", **more)
            assert made.server.asked[1].body["model"] == model, "as earlier versions did"
    async with peer(models("a", "b")) as made:
        name, error = await made.failure("chat", prompt="hi")
        assert name == "LLM_MODEL_NOT_FOUND"
        assert "no model is named; openai has a, b" in error.message


async def test_a_model_that_the_server_lists_and_does_not_give() -> None:
    refused = answer(404, {"error": {"message": "The model `a` does not exist or you do not have access to it."}})
    async with peer(refused, models("a", "b")) as made:
        name, error = await made.failure("chat", model="a", prompt="hi")
        assert name == "LLM_MODEL_NOT_FOUND"
        assert "you do not have access to it" in error.message
        assert "did you mean" not in error.message


async def test_what_models_cost_that_answered_wrongly_is_told_with_what_comes_of_the_others() -> None:
    asked = {"model": ["a", "b"], "prompt": "hi", "response_format": "json"}
    wrong = [saying("no JSON")] * 3  # at 5 tokens each
    async with peer(*wrong, answer(429, "", retry_after="9")) as made:
        name, error = await made.failure("chat", **asked)
        assert (name, (error.data or {})["retryAfterSeconds"]) == ("LLM_RATE_LIMITED", 9)
        assert (error.data or {})["usage"] == {"input_tokens": 9, "output_tokens": 6, "total_tokens": 15}
    async with peer(*wrong, *wrong) as made:
        name, error = await made.failure("chat", **asked)
        assert (name, (error.data or {})["usage"]["total_tokens"]) == ("LLM_BAD_OUTPUT", 30)
    async with peer(*wrong, saying("{}")) as made:
        result = await made.call("chat", **asked)
        assert (result["json"], result["tokens_used"], result["model"]) == ({}, 20, "m-1")


async def test_models_are_tried_in_order() -> None:
    async with peer(answer(500, "boom"), answer(429, "", retry_after="9"), saying("x")) as made:
        result = await made.call("chat", model=["a", "b", "c"], prompt="hi")
        assert result["content"] == "x"
        assert [asked.body["model"] for asked in made.server.asked] == ["a", "b", "c"]
        assert len(made.logged()) == 2
    async with peer(answer(500, "one"), answer(500, "two")) as made:
        _, error = await made.failure("chat", model=["a", "b"], prompt="hi")
        assert "two (the other models failed, too: a: " in error.message
        assert "says: one)" in error.message
    missing = answer(404, {"error": {"message": "The model `b` does not exist", "code": "model_not_found"}})
    for first, kind in ((answer(400, {"error": "no tools"}), "BAD_REQUEST"), (answer(429, ""), "RATE_LIMITED")):
        async with peer(first, missing) as made:
            name, error = await made.failure("chat", model=["a", "b"], prompt="hi")
            assert name == f"LLM_{kind}"
            assert "too: b: " in error.message
    limits = [answer(429, "", retry_after=seconds) for seconds in ("90", "50", "70")]
    async with peer(*limits) as made:  # that which ends first is waited for
        _, error = await made.failure("chat", model=["a", "b", "c"], prompt="hi")
        assert (error.data or {})["retryAfterSeconds"] == 50
    for last in (answer(500, "boom"), answer(400, "no"), answer(401, "no")):  # it is, whatever is wrong with the others
        async with peer(answer(429, "", retry_after="9"), last) as made:
            name, error = await made.failure("chat", model=["a", "b"], prompt="hi")
            assert (name, (error.data or {})["retryAfterSeconds"]) == ("LLM_RATE_LIMITED", 9)
    async with peer(missing) as made:
        name, error = await made.failure("chat", model=["b", "b"], prompt="hi")
        assert (name, (error.data or {})["retryable"]) == ("LLM_MODEL_NOT_FOUND", False)
    async with peer(answer(400, {"error": "a does not support tools"}), saying("x")) as made:
        assert (await made.call("chat", model=["a", "b"], prompt="hi"))["content"] == "x"
    async with peer(answer(401, "no")) as made:
        name, _ = await made.failure("chat", model=["a", "b"], prompt="hi")
        assert name == "LLM_UNAUTHORIZED"
        assert len(made.server.asked) == 1


async def test_of_several_models_no_two_are_shown_one_after_the_other() -> None:
    cut, whole = stream(sse(chunk(content="Hal"))), saying("Hello")
    async with peer(cut, whole) as made:
        result = await made.call("chat", model=["a", "b"], prompt="hi")
        assert (result["content"], made.streamed()) == ("Hello", "Hal")
    async with peer(answer(500, "no"), saying("Hello")) as made:
        await made.call("chat", model=["a", "b"], prompt="hi")
        assert made.streamed() == "Hello"


async def test_the_list_of_models() -> None:
    async with peer(models("a", "b")) as made:
        for method in ("models", "list_models"):
            result = await made.call(method)
            assert result == {
                "models": [{"name": "a"}, {"name": "b"}],
                "names": ["a", "b"],
                "count": 2,
                "provider": "openai",
            }


class Pulling:
    """A back end whose server lacks a model until it is fetched."""

    name = "pulling"
    ignored: frozenset[str] = frozenset()
    options: frozenset[str] = frozenset()
    capacity = 1

    def __init__(self) -> None:
        self.has: set[str] = set()

    async def chat(self, request: ChatRequest, on_delta: OnDelta) -> ChatResult:
        if request.model not in self.has:
            raise ModelNotFound("no such model", {"hint": f"ollama pull {request.model}"})
        return ChatResult(content="pulled", model=request.model)

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        raise NotImplementedError

    async def models(self) -> list[ModelInfo]:
        return [ModelInfo(name=name) for name in self.has]

    async def pull(self, model: str, on_progress: OnProgress) -> None:
        on_progress(1, 2, "downloading")
        self.has.add(model)

    async def close(self) -> None: ...


async def test_a_missing_model_is_fetched_if_asked_for() -> None:
    async with fake_server() as server, serving(Pulling(), server, Settings(directory=Path("/"))) as made:
        _, error = await made.failure("chat", model="m", prompt="hi")
        assert error.message == "pulling has no model 'm'; it has none. What helps: ollama pull m"
        assert (await made.call("chat", model="m", prompt="hi", pull=True))["content"] == "pulled"
        assert made.progress() == [(1, 2)]
    async with peer(NO_MODEL, models("a")) as made:
        assert (await made.failure("chat", model="m", prompt="hi", pull=True))[0] == "LLM_MODEL_NOT_FOUND"


# Errors and limits


async def test_too_many_requests_is_no_failure_of_the_task() -> None:
    async with peer(answer(429, {"error": {"message": "slow down"}}, retry_after="7")) as made:
        with pytest.raises(ProviderBusy) as caught:
            await made.call("chat", model="m", prompt="hi")
        assert caught.value.data is not None
        assert caught.value.data["retryAfterSeconds"] == 7
        assert caught.value.data["name"] == "LLM_RATE_LIMITED"


async def test_a_server_that_wants_to_be_left_alone_is_not_asked_by_others_either() -> None:
    slow_down = answer(429, {"error": {"message": "slow down"}}, retry_after="30")
    async with peer(slow_down, saying("x")) as made:
        for _ in range(3):
            with pytest.raises(ProviderBusy, match="slow down") as caught:
                await made.call("chat", model="m", prompt="hi")
            assert caught.value.data is not None
            assert 29 < caught.value.data["retryAfterSeconds"] <= 30
        assert len(made.server.asked) == 1
        assert (await made.call("chat", model=["m", "another"], prompt="hi"))["response"] == "x"


async def test_a_guess_of_ours_and_a_short_wait_hold_nobody_else_up() -> None:
    async with peer(answer(429, ""), answer(429, "", retry_after="0.5"), saying("x")) as made:
        for _ in range(2):
            with pytest.raises(ProviderBusy):
                await made.call("chat", model="m", prompt="hi")
        assert (await made.call("chat", model="m", prompt="hi"))["response"] == "x"


async def test_our_own_limits_refuse_before_anything_is_sent() -> None:
    async with peer(saying("x"), requests_per_minute=1) as made:
        await made.call("chat", model="m", prompt="hi")
        with pytest.raises(ProviderBusy, match="1 requests a minute to m") as caught:
            await made.call("chat", model="m", prompt="hi")
        assert caught.value.data is not None
        assert 59 < caught.value.data["retryAfterSeconds"] <= 60
        assert len(made.server.asked) == 1
        await made.call("chat", model="another", prompt="hi")


async def test_tokens_are_counted_as_the_server_counted_them() -> None:
    async with peer(saying("x"), tokens_per_minute=1009) as made:
        await made.call("chat", model="m", prompt="hi", max_tokens=1000)  # cost 5
        await made.call("chat", model="m", prompt="hi", max_tokens=1000)  # cost 5
        with pytest.raises(ProviderBusy, match="tokens a minute"):
            await made.call("chat", model="m", prompt="hi", max_tokens=1000)
        await made.call("chat", model="m", prompt="hi", max_tokens=900)


async def test_nobody_listens() -> None:
    async with peer(saying("x")) as made:
        pass
    async with serving(
        OpenAI(Http(made.server.url), is_openai=False), made.server, Settings(directory=Path("/"))
    ) as made:
        for method, params in (("chat", {"prompt": "hi"}), ("embed", {"text": "hi"}), ("models", {})):
            name, error = await made.failure(method, **({"model": "m"} | params if params else {}))
            assert (name, (error.data or {})["retryable"]) == ("LLM_UNREACHABLE", True)
            assert f"nobody answers at {made.server.url} (connection refused)" in error.message


async def test_a_stream_that_is_cut_may_be_tried_again() -> None:
    async with peer(stream(sse(chunk(content="Hel")), then="cut")) as made:
        name, error = await made.failure("chat", model="m", prompt="hi")
        assert (name, error.code, (error.data or {})["retryable"]) == ("LLM_STREAM_CUT", TaskError.code, True)
        assert made.streamed() == "Hel"


async def test_a_server_that_hangs() -> None:
    async with peer(stream(sse(chunk(content="Hel")), then="hang"), idle=0.2) as made:
        assert (await made.failure("chat", model="m", prompt="hi"))[0] == "LLM_IDLE_TIMEOUT"


async def test_the_timeout_of_the_params() -> None:
    async with peer(stream(sse(chunk(content="Hel")), then="hang")) as made:
        with pytest.raises(TaskTimeout, match="took longer than 100 ms"):
            await made.call("chat", model="m", prompt="hi", timeout=0.1)
        await asyncio.wait_for(made.server.gone.get(), 30)


async def test_cancelling_the_call_closes_the_request_to_the_server() -> None:
    async with peer(stream(sse(chunk(content="Hel")), then="hang")) as made:
        replies: list[Any] = []
        request_id = made.connection.send_request("llm/chat", b'{"model":"m","prompt":"hi"}', replies.append)
        async with asyncio.timeout(30):
            while not made.server.asked:  # noqa: ASYNC110 - the request comes over a socket
                await asyncio.sleep(0)
        cancelled_at = asyncio.get_running_loop().time()
        made.connection.cancel(request_id)
        assert await asyncio.wait_for(made.server.gone.get(), 30) - cancelled_at < AT_ONCE_SECONDS
        async with asyncio.timeout(30):
            while not replies:  # noqa: ASYNC110 - the answer comes over a socket
                await asyncio.sleep(0)
        assert replies[0].code == TaskCancelled.code


# Budgets

JSON_OF_A = {"model": ["a", "b"], "prompt": "hi", "response_format": "json"}


@pytest.mark.parametrize("calls", [1, 2, 4])
async def test_no_request_is_made_beyond_the_calls_that_a_budget_leaves(calls: int) -> None:
    async with peer(saying("No."), budget={"calls": calls}) as made:
        name, error = await made.failure("chat", **JSON_OF_A)
        assert (name, len(made.server.asked)) == ("BUDGET_EXCEEDED", calls)
        left = "1 request" if calls == 1 else f"{calls} requests"
        assert error.message.startswith(f"the budget leaves this call {left}, and it has made {calls}")
        assert "no JSON" in error.message
        data = error.data or {}
        assert (data["requests"], data["usage"]["total_tokens"]) == (calls, 5 * calls)


async def test_a_result_says_how_many_requests_it_took() -> None:
    async with peer(saying("No."), saying("{}"), budget={"calls": 2}) as made:
        assert (await made.call("chat", **JSON_OF_A))["requests"] == 2


async def test_tokens_that_are_spent_within_a_call_end_it_before_its_next_request() -> None:
    async with peer(saying("No."), budget={"tokens": 9}) as made:  # each answer has 5
        name, error = await made.failure("chat", **JSON_OF_A)
        assert (name, len(made.server.asked)) == ("BUDGET_EXCEEDED", 2)
        assert "the budget leaves this call 9 tokens, and it has used 10" in error.message


@pytest.mark.parametrize(
    ("refusal", "made_of_it"),
    [
        (answer(400, {"error": {"message": "Unsupported parameter: 'temperature' is not supported"}}), 1),
        (NO_MODEL, 1),
        (answer(429, "", retry_after="9"), 1),
        (answer(500, {"error": {"message": "failed to parse grammar: grammar error"}}), 1),
        (answer(500, "broken"), 2),
        (slam, 2),
        (stream(sse(chunk(content="N")), then="cut"), 2),
    ],
)
async def test_what_a_server_refuses_is_not_paid_for(refusal: Answer, made_of_it: int) -> None:
    async with peer(refusal, saying('{"a": true}'), budget={"calls": 5}) as made:
        result = await made.call("chat", **{**JSON_OF_A, "response_format": SCHEMA, "temperature": 0.5})
        asked = [one for one in made.server.asked if one.method == "POST"]
        assert (result["requests"], len(asked)) == (made_of_it, 2)


async def test_a_call_without_requests_tells_of_none() -> None:
    async with peer(hang) as made:
        _, error = await made.failure("vision", model="m", prompt="hi")
        assert "requests" not in (error.data or {})


async def test_the_files_of_a_batch_share_its_budget(tmp_path: Path) -> None:
    for name in "abcd":
        (tmp_path / f"{name}.txt").write_text(name)
    async with peer(saying("x"), folder=tmp_path, budget={"calls": 3}) as made:
        files = [f"{name}.txt" for name in "abcd"]
        result = await made.call("chat", model="m", prompt="hi", files=files, batch_mode=True)
        assert len(made.server.asked) == result["requests"] == 3
        assert result["summary"] == {"total": 4, "successful": 3, "failed": 1}
        assert (result["tokens_used"], result["usage"]["total_tokens"]) == (15, 15)
        failed = [entry for entry in result["result"].values() if entry["status"] == "failed"]
        assert "the budget leaves this call 3 requests" in failed[0]["error"]


# JSON


async def test_an_answer_of_a_shape() -> None:
    async with peer(saying('```json\n{"a": ', "true}\n```")) as made:
        result = await made.call("chat", model="m", prompt="hi", response_format=SCHEMA)
        assert result["json"] == {"a": True}
        assert result["content"].startswith("```json")
        assert made.server.asked[0].body["response_format"]["json_schema"]["schema"] == SCHEMA


async def test_a_wrong_answer_is_asked_for_again_with_what_was_wrong() -> None:
    async with peer(saying("No."), saying('{"a": 1}'), saying('{"a": true}')) as made:
        result = await made.call("chat", model="m", prompt="hi", response_format=SCHEMA)
        assert result["json"] == {"a": True}
        assert result["usage"]["total_tokens"] == 15
        assert made.streamed() == "No."
        assert len(made.logged()) == 2
        last = made.server.asked[2].body["messages"]
        assert [message["role"] for message in last] == ["user", "assistant", "user", "assistant", "user"]
        assert last[3]["content"] == '{"a": 1}'
        assert "- a: must be true or false, not 1" in last[4]["content"]


async def test_after_three_wrong_answers_the_task_fails() -> None:
    async with peer(saying("No.")) as made:
        name, error = await made.failure("chat", model="m", prompt="hi", response_format="json")
        assert name == "LLM_BAD_OUTPUT"
        assert error.data is not None
        assert error.data["content"] == "No."
        assert error.data["retryable"] is False
        assert error.data["usage"]["total_tokens"] == 15  # a budget counts them
        assert "no valid JSON in 3 tries: it is no JSON" in error.message
        assert len(made.server.asked) == 3


async def test_json_that_was_cut_off_is_not_asked_for_again() -> None:
    async with peer(saying('{"a": ', reason="length")) as made:
        name, error = await made.failure("chat", model="m", prompt="hi", response_format="json")
        assert (name, len(made.server.asked)) == ("LLM_BAD_OUTPUT", 1)
        assert "raise max_tokens" in error.message


async def test_json_that_the_server_itself_finds_wrong_is_asked_for_again() -> None:
    wrong = answer(500, {"error": {"message": "The model produced output that does not match the expected x format"}})
    async with peer(wrong, saying("[]")) as made:
        assert (await made.call("chat", model="m", prompt="hi", response_format="json"))["json"] == []
        assert "does not match the expected" in made.server.asked[1].body["messages"][-1]["content"]
    async with peer(wrong) as made:
        name, error = await made.failure("chat", model="m", prompt="hi", response_format="json")
        assert (name, len(made.server.asked), error.retryable) == ("LLM_SERVER_ERROR", 3, True)


async def test_a_limit_between_two_tries_is_waited_for() -> None:
    async with peer(saying("No."), answer(429, "", retry_after="0.05"), saying("[]")) as made:
        assert (await made.call("chat", model="m", prompt="hi", response_format="json"))["json"] == []


async def test_a_schema_that_is_none_costs_nothing() -> None:
    async with peer(saying("x")) as made:
        _, error = await made.failure("chat", model="m", prompt="hi", response_format={"type": "objct"})
        assert isinstance(error, InvalidParams)
        assert "did you mean object" in str(error)
        unreadable = {"type": "object", "properties": {"a": {"pattern": "("}}}
        name, _ = await made.failure("chat", model="m", prompt="hi", response_format=unreadable)
        assert (name, made.server.asked) == ("LLM_BAD_REQUEST", [])


async def test_what_the_model_does_not_take_is_told_and_its_thoughts_go_back() -> None:
    no = answer(400, {"error": {"message": "Unsupported parameter: 'seed' is not supported with this model."}})
    call = chunk(reasoning="hm", tool_calls=[{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}])
    async with peer(no, stream(sse(call, end("stop"), "[DONE]")), saying("7")) as made:
        tools = [{"name": "f", "strict": True}]
        first = await made.call("chat", model="m", prompt="hi", seed=3, tools=tools, options={"mirostatt": 1})
        assert [warning.split(";")[0] for warning in first["warnings"]] == [
            "options: openai knows no mirostatt (did you mean mirostat?)",
            "m takes no seed: it was left out",
        ]
        answered = {"role": "tool", "tool_call_id": "a", "content": 7}
        messages = [{"role": "user", "content": "hi"}, first["message"], answered]
        await made.call("chat", model="m", messages=messages, tools=tools)
        assert made.server.asked[2].body["messages"][1]["reasoning_content"] == "hm"
        assert made.server.asked[2].body["tools"][0]["function"]["strict"] is True


async def test_tools() -> None:
    call = chunk(tool_calls=[{"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x": 1}'}}])
    async with peer(stream(sse(call, end("tool_calls"), "[DONE]")), saying("7")) as made:
        tools = [{"name": "f", "parameters": {"type": "object"}}]
        result = await made.call("chat", model="m", prompt="hi", tools=tools, response_format="json")
        assert result["tool_calls"] == [{"id": "a", "name": "f", "arguments": {"x": 1}}]
        assert "json" not in result
        answered = {"role": "tool", "tool_call_id": "a", "content": 7}
        messages = [{"role": "user", "content": "hi"}, result["message"], answered]
        result = await made.call("chat", model="m", messages=messages, tools=tools)
        assert (result["content"], result["tool_calls"]) == ("7", [])
        told = made.server.asked[1].body["messages"]
        function = {"name": "f", "arguments": '{"x":1}'}
        assert told[1]["tool_calls"] == [{"id": "a", "type": "function", "function": function}]
        assert told[2] == {"role": "tool", "tool_call_id": "a", "content": "7"}


@pytest.mark.parametrize(
    ("choice", "script", "message"),
    [
        ("required", saying("no"), "without calling a tool; this server ignores tool_choice"),
        ("any", saying("no", reason="length"), "cut off before a tool was called"),
        ({"name": "f"}, saying("no"), "without calling the tool f"),
        ({"name": "f"}, CALLS_G, "called g in place of the tool f"),
    ],
)
async def test_a_tool_that_had_to_be_called(choice: object, script: Answer, message: str) -> None:
    async with peer(script) as made:
        tools = [{"name": "f"}, {"name": "g"}]
        name, error = await made.failure("chat", model="m", prompt="hi", tools=tools, tool_choice=choice)
        assert (name, message in error.message) == ("LLM_BAD_OUTPUT", True), error.message


async def test_any_tool_will_do_where_one_is_required() -> None:
    async with peer(CALLS_G) as made:
        result = await made.call("chat", model="m", prompt="hi", tools=[{"name": "g"}], tool_choice="required")
        assert [call["name"] for call in result["tool_calls"]] == ["g"]


# Files, sessions, embeddings


async def test_a_batch(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    async with peer(saying("x"), folder=tmp_path) as made:
        result = await made.call("chat", model="m", prompt="hi", files=["a.txt", "b.txt", "c.txt"], batch_mode=True)
        assert result["summary"] == {"total": 3, "successful": 2, "failed": 1}
        assert result["tokens_used"] == 10
        assert result["result"]["a.txt"] == {"status": "success", "content": "x"}
        assert result["result"]["c.txt"]["status"] == "failed"
        assert result["result"]["c.txt"]["error"].startswith("cannot read c.txt")
        asked = sorted(asked.body["messages"][0]["content"] for asked in made.server.asked)
        assert asked == [f"hi\n\nFile content from {name}:\n{name}" for name in ("a.txt", "b.txt")]
        assert made.progress()[-1] == (3, 3)
        assert made.streamed() == ""


async def test_a_batch_over_a_folder(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.txt"):
        (tmp_path / name).write_bytes(PNG)
    async with peer(saying("x"), folder=tmp_path) as made:
        params = {"model": "m", "prompt": "hi", "directory": ".", "file_pattern": "*.png", "batch_mode": True}
        assert list((await made.call("vision", **params))["result"]) == ["a.png", "b.png"]
        name, error = await made.failure("vision", **{**params, "file_pattern": "*.gif"})
        assert (name, error.message) == ("LLM_BAD_REQUEST", "batch_mode: there are no files")
        assert "json" not in await made.call("chat", **params)


async def test_a_batch_waits_for_a_limit_and_fails_if_nothing_goes_well(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    params = {"model": "m", "prompt": "hi", "files": ["a.txt"], "batch_mode": True}
    async with peer(answer(429, "", retry_after="0.05"), saying("x"), folder=tmp_path) as made:
        assert (await made.call("chat", **params))["summary"]["successful"] == 1
    async with peer(answer(401, "no"), folder=tmp_path) as made:
        assert (await made.failure("chat", **params))[0] == "LLM_UNAUTHORIZED"


async def test_vision(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    async with peer(saying("a cat"), folder=tmp_path) as made:
        await made.call("vision", model="m", prompt="what?", image_path="a.png")
        content = made.server.asked[0].body["messages"][0]["content"]
        assert [part["type"] for part in content] == ["text", "image_url"]
        name, error = await made.failure("vision", model="m", messages=[{"role": "user", "content": "what?"}])
        assert (name, "needs an image" in error.message) == ("LLM_BAD_REQUEST", True)


async def test_a_session_remembers() -> None:
    async with peer(saying("one"), saying("two")) as made:
        await made.call("chat", model="m", prompt="first", session_id="s", system="brief")
        await made.call("chat", model="m", prompt="second", session_id="s", system="brief")
        await made.call("chat", model="m", prompt="third")
        told = [[message["content"] for message in asked.body["messages"]] for asked in made.server.asked]
        assert told == [["brief", "first"], ["brief", "first", "one", "second"], ["third"]]


@pytest.mark.parametrize("method", ["embeddings", "embed"])
async def test_embeddings(method: str) -> None:
    body = {"model": "e-1", "data": [{"embedding": [1, 2]}, {"embedding": [3, 4]}], "usage": {"prompt_tokens": 2}}
    async with peer(answer(200, body)) as made:
        result = await made.call(method, model="e", input=["a", "b"])
        assert result.pop("timings_ms")["total"] > 0
        assert result == {
            "embedding": [1, 2], "embeddings": [[1, 2], [3, 4]], "dimensions": 2, "model": "e-1",
            "usage": {"input_tokens": 2, "output_tokens": 0, "total_tokens": 2}, "tokens_used": 2,
            "provider": "openai", "provider_id": "openai", "requests": 1,
        }  # fmt: skip


async def test_real_answers_through_the_whole_provider(llama_server: LlamaServer, tmp_path: Path) -> None:
    async with fake_server() as unused:
        backend = OpenAI(Http(f"{llama_server.url}/v1"), is_openai=False)
        async with serving(backend, unused, Settings(directory=tmp_path)) as made:
            params = {"prompt": "Who are you?", "max_tokens": 200, "seed": 1}
            result = await made.call("generate", **params)
            assert result["text"] == made.streamed()
            assert result["model"] == llama_server.model
            assert (await made.call("generate", **params, response_format=SCHEMA))["json"].keys() == {"a"}
            assert (await made.call("generate", **params, raw=True, stop=[" "]))["finish_reason"] == "stop"
            assert (await made.call("models"))["names"] == [llama_server.model]

"""Anthropic's Messages API: against servers that misbehave, and a real one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fake_server import Answer, FakeServer, answer, fake_server, hang, sse, stream
from llama import LlamaServer
from samples import IMAGE, SAID, SCHEMA, START, STOP, block, delta, ending, request, text

from gz_provider_llm.backends.anthropic import MOST_TURNS, Anthropic
from gz_provider_llm.errors import (
    BadRequest,
    ContextOverflow,
    IdleTimeout,
    LlmError,
    ModelNotFound,
    QuotaExceeded,
    RateLimited,
    Refused,
    ServerError,
    StreamCut,
    Unauthorized,
)
from gz_provider_llm.shapes.files import Image
from gz_provider_llm.shapes.requests import EmbedRequest, Message, Tool, ToolCall
from gz_provider_llm.shapes.results import ChatResult, Usage
from gz_provider_llm.transport.http import Http


def failed(kind: str, message: str = "x") -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}}


@asynccontextmanager
async def anthropic(*script: Answer, idle: float = 60) -> AsyncIterator[tuple[Anthropic, FakeServer]]:
    async with fake_server(*script) as server:
        backend = Anthropic(Http(server.url, idle_timeout_seconds=idle))
        try:
            yield backend, server
        finally:
            await backend.close()


async def chat(*script: Answer, idle: float = 60, **members: Any) -> tuple[ChatResult, list[str]]:
    deltas: list[str] = []
    async with anthropic(*script, idle=idle) as (backend, _):
        return await backend.chat(request(**members), deltas.append), deltas


async def test_a_stream() -> None:
    events = [
        *text("Hel", "lo"),
        {"type": "ping"},
        {"type": "content_block_stop", "index": 0},
        ending("end_turn"),
        STOP,
    ]
    result, deltas = await chat(stream(*sse(*events, {"type": "of the future"})))
    assert result == ChatResult(content="Hello", model="m-1", usage=Usage(7, 9, cached_tokens=4))
    assert deltas == ["Hel", "lo"]


async def test_thinking_and_tools() -> None:
    events = [
        START,
        block(0, type="thinking", thinking=""),
        delta(0, type="thinking_delta", thinking="hm"),
        delta(0, type="signature_delta", signature="xyz"),
        block(1, type="text", text="I look. "),
        block(2, type="tool_use", id="t", name="f", input={}),
        delta(2, type="input_json_delta", partial_json='{"x"'),
        delta(2, type="input_json_delta", partial_json=": 1}"),
        block(3, type="tool_use", id="u", name="g", input={}),
        ending("tool_use"),
        STOP,
    ]
    result, deltas = await chat(stream(sse(*events)))
    assert (result.content, result.reasoning, result.finish_reason) == ("I look. ", "hm", "tool_calls")
    assert result.tool_calls == (ToolCall("t", "f", {"x": 1}), ToolCall("u", "g", {}))
    assert deltas == ["I look. "]


async def test_all_at_once() -> None:
    content = [{"type": "text", "text": "Hello"}, {"type": "tool_use", "id": "t", "name": "f", "input": {"x": 1}}]
    body = {
        "model": "m-1",
        "content": content,
        "stop_reason": "max_tokens",
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }
    result, deltas = await chat(answer(200, body), stream=False)
    assert (result.content, result.finish_reason, result.usage) == ("Hello", "length", Usage(3, 2))
    assert result.tool_calls == (ToolCall("t", "f", {"x": 1}),)
    assert deltas == []
    said, deltas = await chat(answer(200, {"type": "message", **body}))  # it does not stream, though asked to
    assert (said, deltas) == (result, ["Hello"])


@pytest.mark.parametrize("body", [[], {}, {"content": [3]}, failed("api_error")])
async def test_a_whole_answer_that_is_none(body: object) -> None:
    with pytest.raises(ServerError):
        await chat(answer(200, body), stream=False)


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (stream(sse(*text("Hel"))), StreamCut),
        (stream("even"), StreamCut),
        (stream(sse({"error": {"type": "overloaded_error", "message": "x"}}, name="error")), ServerError),
        (stream(sse(failed("billing_error"))), QuotaExceeded),
        (stream(sse(*text("Hel")), then="cut"), StreamCut),
        (stream(sse(*text("Hel"), ending("end_turn"))), StreamCut),
        (stream(sse(*text("Hel")), then="hang"), IdleTimeout),
        (hang, IdleTimeout),
        (stream(sse(*text("H"), failed("overloaded_error"))), ServerError),
        (stream(sse(failed("invalid_request_error", "prompt is too long"))), ContextOverflow),
        (stream(sse("{broken", name="message_start")), ServerError),
        (stream(sse(["no", "object"])), ServerError),
        (stream(sse({"type": "message_start", "message": {"usage": {}}}, block(0, text=[3]))), ServerError),
        (stream(sse(START, ending("refusal"), STOP)), Refused),
        (answer(401, failed("authentication_error", "invalid x-api-key")), Unauthorized),
        (answer(404, failed("not_found_error", "model: m not found")), ModelNotFound),
        (answer(429, failed("rate_limit_error"), retry_after="3"), RateLimited),
        (answer(529, failed("overloaded_error")), ServerError),
    ],
)
async def test_what_goes_wrong_has_a_name(script: Answer, kind: type[LlmError]) -> None:
    with pytest.raises(kind) as caught:
        await chat(script, idle=0.3 if kind is IdleTimeout else 60)
    assert type(caught.value) is kind


async def test_thoughts_are_counted() -> None:
    counted = ending("end_turn")
    counted["usage"]["output_tokens_details"] = {"thinking_tokens": 6}
    result, _ = await chat(stream(sse(*text("hi"), counted, STOP)))
    assert result.usage == Usage(7, 9, 6, 4)


async def test_why_it_declines_is_told() -> None:
    declined = ending("refusal")
    declined["delta"]["stop_details"] = {"type": "refusal", "category": "cyber", "explanation": "not this"}
    with pytest.raises(Refused, match="declined to answer: not this"):
        await chat(stream(sse(START, declined, STOP)))


async def body_of(**members: Any) -> Any:
    async with anthropic(stream(sse(*text("x"), ending("end_turn"), STOP))) as (backend, server):
        await backend.chat(request(**members), lambda delta: None)
        assert server.asked[0].path == "/v1/messages"
        return server.asked[0].body


async def test_a_request_says_only_what_was_said() -> None:
    assert await body_of() == {
        "model": "m",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "stream": True,
    }


async def test_params() -> None:
    body = await body_of(**SAID, options={"metadata": {"user_id": "u"}})
    for name in ("model", "messages", "stream"):
        del body[name]
    assert body == {
        "max_tokens": 5, "temperature": 0, "top_p": 0.5, "top_k": 3, "stop_sequences": ["a"],
        "thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}, "metadata": {"user_id": "u"},
    }  # fmt: skip
    assert Anthropic.ignored - {"load_balancing_strategy"} == SAID.keys() - {
        "max_tokens",
        "temperature",
        "top_p",
        "top_k",
        "stop",
        "reasoning_effort",
    }


async def test_a_temperature_that_only_others_have() -> None:
    body, warnings = await asked_after(temperature=1.5)
    assert body["temperature"] == 1
    assert "no temperature above 1" in warnings[0]
    assert (await asked_after(temperature=1))[1] == ()


async def test_no_thinking() -> None:
    body = await body_of(reasoning_effort="none")
    assert body["thinking"] == {"type": "disabled"}
    assert "output_config" not in body


async def test_messages_on_the_wire() -> None:
    messages = (
        Message(role="system", content="s"),
        Message(role="user", content="look", images=(IMAGE,)),
        Message(role="user", content="again"),
        Message(role="assistant", content="well", tool_calls=(ToolCall("1", "f", {"x": 1}), ToolCall("2", "f", "{"))),
        Message(role="tool", content="7", tool_call_id="1"),
        Message(role="tool", content="8", tool_call_id="2"),
        Message(role="system", content="t"),
    )
    body = await body_of(messages=messages)
    source = {"type": "base64", "media_type": "image/png", "data": IMAGE.data_base64}
    assert body["system"] == "s\n\nt"
    assert body["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "image", "source": source},
                {"type": "text", "text": "look"},
                {"type": "text", "text": "again"},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "well"},
                {"type": "tool_use", "id": "1", "name": "f", "input": {"x": 1}},
                {"type": "tool_use", "id": "2", "name": "f", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "1", "content": "7"},
                {"type": "tool_result", "tool_use_id": "2", "content": "8"},
            ],
        },
    ]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_name": "f"}, {"type": "tool", "name": "f"}),
    ],
)
async def test_tools_on_the_wire(choice: dict[str, Any], expected: object) -> None:
    body = await body_of(tools=(Tool("f", "d", SCHEMA),), **choice)
    assert body["tools"] == [{"name": "f", "description": "d", "input_schema": SCHEMA}]
    assert body["tool_choice"] == expected


async def test_json_is_asked_for_in_words_and_by_schema() -> None:
    body = await body_of(json=True, json_schema=SCHEMA)
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}
    assert '"required":["a"]' in body["system"]
    body = await body_of(json=True)
    assert "output_config" not in body
    assert "JSON only" in body["system"]


async def test_a_model_that_knows_no_output_format_is_asked_in_words() -> None:
    refusal = answer(400, failed("invalid_request_error", "output_config.format: no"))
    async with anthropic(refusal, stream(sse(*text("{}"), ending("end_turn"), STOP))) as (backend, server):
        for _ in range(2):
            result = await backend.chat(request(json=True, json_schema=SCHEMA), lambda delta: None)
            assert result.content == "{}"
        assert ["output_config" in asked.body for asked in server.asked] == [True, False, False]


NO_EFFORT = answer(400, failed("invalid_request_error", "adaptive thinking is not supported on this model"))
NO_THOUGHTS = answer(400, failed("invalid_request_error", "thinking is not supported on this model"))
FINE = stream(sse(*text("x"), ending("end_turn"), STOP))


async def asked_after(*refusals: Answer, **members: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body that was taken in the end, and the warnings."""
    async with anthropic(*refusals, FINE) as (backend, server):
        result = await backend.chat(request(**members), lambda delta: None)
        assert len(server.asked) == len(refusals) + 1
        return server.asked[-1].body, result.warnings


@pytest.mark.parametrize(
    ("members", "budget", "max_tokens"),
    [
        ({"reasoning_effort": "high"}, 16384, 16384 + 4096),
        ({"reasoning_effort": "low", "max_tokens": 9000}, 2048, 9000),
        ({"reasoning_effort": "high", "max_tokens": 9000}, 4500, 9000),
        ({"reasoning_effort": "high", "max_tokens": 1025}, 1024, 1025),
    ],
)
async def test_models_that_know_no_effort_get_a_budget(members: dict[str, Any], budget: int, max_tokens: int) -> None:
    body, warnings = await asked_after(NO_EFFORT, **members)
    assert body["thinking"] == {"type": "enabled", "budget_tokens": budget}
    assert body["max_tokens"] == max_tokens
    assert "output_config" not in body
    assert warnings == ()


async def test_models_that_cannot_think_are_asked_without_and_it_is_told() -> None:
    body, warnings = await asked_after(NO_EFFORT, NO_THOUGHTS, reasoning_effort="high", max_tokens=9000)
    assert "thinking" not in body
    assert warnings == ("m takes no reasoning_effort: it was left out",)
    body, warnings = await asked_after(NO_EFFORT, reasoning_effort="high", max_tokens=1000)
    assert "thinking" not in body
    assert "no room to think" in warnings[0]


async def test_sampling_that_the_model_does_not_take_is_left_out() -> None:
    says = failed("invalid_request_error", "`temperature` and `top_p` cannot both be specified for this model.")
    body, warnings = await asked_after(answer(400, says), temperature=1, top_p=0.5)
    assert ("temperature" in body, "top_p" in body) == (False, True)
    assert warnings == ("m takes no temperature: it was left out",)


@pytest.mark.parametrize(
    ("says", "name", "value"),
    [
        ("`temperature` may only be set to 1 when thinking is enabled.", "temperature", 0.5),
        ("temperature is not supported when thinking is enabled", "temperature", 0.5),
        ("`top_k` must be unset when thinking is enabled.", "top_k", 3),
        ("`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled.", "top_p", 0.5),
    ],
)
async def test_what_a_model_does_not_take_while_it_thinks_it_takes_otherwise(says: str, name: str, value: int) -> None:
    async with anthropic(answer(400, failed("invalid_request_error", says)), FINE) as (backend, server):
        await backend.chat(request(reasoning_effort="low", **{name: value}), lambda delta: None)
        await backend.chat(request(**{name: value}), lambda delta: None)
        refused, thinking, plain = (asked.body for asked in server.asked)
    assert (name in refused, name in thinking, name in plain) == (True, False, True)
    assert "thinking" in thinking


async def test_a_model_that_has_to_call_a_tool_does_not_think() -> None:
    says = failed("invalid_request_error", "Thinking may not be enabled when tool_choice forces tool use.")
    members = {"tools": (Tool("f", "d", SCHEMA),), "tool_choice": "required", "reasoning_effort": "low"}
    body, warnings = await asked_after(answer(400, says), **members)
    assert ("thinking" in body, body["tool_choice"]) == (False, {"type": "any"})
    assert warnings == ("m takes no reasoning_effort: it was left out",)


async def test_signed_thoughts_go_back_with_the_calls_that_they_led_to() -> None:
    signature = {"type": "signature_delta", "signature": "S=="}
    thought = {"type": "thinking_delta", "thinking": "hm"}
    events = [
        START, block(0, type="thinking", thinking="", signature=""), delta(0, **thought), delta(0, **signature),
        block(1, type="redacted_thinking", data="xyz"), block(2, type="tool_use", id="1", name="f", input={}),
        ending("tool_use"), STOP,
    ]  # fmt: skip
    result, _ = await chat(stream(sse(*events)))
    thoughts = (
        {"type": "thinking", "thinking": "hm", "signature": "S=="},
        {"type": "redacted_thinking", "data": "xyz"},
    )
    assert result.thinking_blocks == thoughts
    messages = (
        Message(role="user", content="hi"),
        Message(role="assistant", tool_calls=result.tool_calls, thinking_blocks=result.thinking_blocks),
        Message(role="tool", content="7", tool_call_id="1"),
    )
    body = await body_of(messages=messages)
    assert body["messages"][1]["content"] == [*thoughts, {"type": "tool_use", "id": "1", "name": "f", "input": {}}]


async def test_who_says_nothing_is_left_out() -> None:
    """The API refuses a message without content, and a text that is only white."""
    said = [("user", "hi"), ("assistant", ""), ("user", " \n"), ("user", "go on")]
    body = await body_of(messages=tuple(Message(role=role, content=content) for role, content in said))
    texts = [{"type": "text", "text": "hi"}, {"type": "text", "text": "go on"}]
    assert body["messages"] == [{"role": "user", "content": texts}]


async def test_strict_tools_and_images_in_the_web() -> None:
    body = await body_of(
        tools=(Tool("f", "d", SCHEMA, True),),
        messages=(Message(role="user", images=(Image("", "", "https://example.org/a.png"),)),),
    )
    assert body["tools"][0]["strict"] is True
    source = {"type": "url", "url": "https://example.org/a.png"}
    assert body["messages"][0]["content"] == [{"type": "image", "source": source}]


SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}


async def test_a_tool_of_the_server_s_own_goes_to_it_as_it_stands() -> None:
    body = await body_of(tools=(Tool("f", "d", SCHEMA), Tool("web_search", "", {}, own=SEARCH)))
    assert [tool["name"] for tool in body["tools"]] == ["f", "web_search"]
    assert body["tools"][1] == SEARCH


@pytest.mark.parametrize("streamed", [True, False])
async def test_an_answer_that_its_server_interrupts_is_gone_on_with(streamed: bool) -> None:
    found = {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"type": "web_search_result"}]}
    first = [
        *text("I look. "), block(1, type="server_tool_use", id="s", name="web_search", input={}),
        delta(1, type="input_json_delta", partial_json='{"query": "x"}'), block(2, **found),
        block(3, type="text", text=" "),
        ending("pause_turn") | {"delta": {"stop_reason": "pause_turn", "container": {"id": "c"}}}, STOP,
    ]  # fmt: skip
    content = [
        {"type": "text", "text": "I look. "},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}},
        found,
    ]
    usage = {"input_tokens": 7, "output_tokens": 9}
    message = {"model": "m-1", "content": content, "usage": usage}
    whole = message | {"stop_reason": "pause_turn", "container": {"id": "c"}}
    end = message | {"content": [{"type": "text", "text": "Found."}], "stop_reason": "end_turn"}
    said = [stream(sse(*first)), stream(sse(*text("Found."), ending("end_turn"), STOP))]
    script = said if streamed else [answer(200, whole), answer(200, end)]
    deltas: list[str] = []
    async with anthropic(*script) as (backend, server):
        result = await backend.chat(request(stream=streamed), deltas.append)
    assert (result.content.replace("  ", " "), result.finish_reason) == ("I look. Found.", "stop")
    assert result.usage is not None
    assert result.usage.total_tokens == 32
    assert deltas == (["I look. ", " ", "Found."] if streamed else [])
    assert server.asked[1].body["messages"][1:] == [{"role": "assistant", "content": content}]
    assert server.asked[1].body["container"] == "c"


async def test_an_answer_that_is_interrupted_for_ever_has_an_end() -> None:
    async with anthropic(stream(sse(*text("x"), ending("pause_turn"), STOP))) as (backend, server):
        result = await backend.chat(request(), lambda delta: None)
    assert (result.content, result.finish_reason) == ("x" * MOST_TURNS, "pause_turn")
    assert len(server.asked) == MOST_TURNS


async def test_other_refusals_are_not_asked_again() -> None:
    async with anthropic(answer(400, {"error": {"message": "temperature: no"}})) as (backend, server):
        with pytest.raises(BadRequest):
            await backend.chat(request(json=True, json_schema=SCHEMA), lambda delta: None)
        assert len(server.asked) == 1


async def test_what_there_is_not() -> None:
    backend = Anthropic(Http("http://127.0.0.1:1"))
    with pytest.raises(BadRequest, match="no embeddings"):
        await backend.embed(EmbedRequest(model="m", inputs=("a",)))
    with pytest.raises(BadRequest, match="raw"):
        await backend.chat(request(raw=True), lambda delta: None)
    await backend.close()


async def test_models() -> None:
    async with anthropic(answer(200, {"data": [{"id": "claude", "max_input_tokens": 10}]}), answer(200, [])) as (
        backend,
        _,
    ):
        assert [(model.name, model.context_tokens) for model in await backend.models()] == [("claude", 10)]
        with pytest.raises(ServerError, match="a list of models"):
            await backend.models()


# A real server


@pytest.fixture
async def llama(llama_server: LlamaServer) -> AsyncIterator[Anthropic]:
    backend = Anthropic(Http(llama_server.url))
    yield backend
    await backend.close()


async def test_real_answers(llama: Anthropic, llama_server: LlamaServer) -> None:
    deltas: list[str] = []
    streamed = await llama.chat(request(model=llama_server.model, max_tokens=8, temperature=0), deltas.append)
    whole = await llama.chat(
        request(model=llama_server.model, max_tokens=8, temperature=0, stream=False), deltas.append
    )
    assert "".join(deltas) == streamed.content == whole.content
    assert len(deltas) > 1
    assert (streamed.finish_reason, streamed.model) == ("length", llama_server.model)
    assert streamed.usage is not None
    assert streamed.usage.input_tokens > 0
    assert streamed.usage.output_tokens == 8


async def test_real_context_overflow(llama: Anthropic, llama_server: LlamaServer) -> None:
    long = (Message(role="user", content="sun " * 40_000),)
    with pytest.raises(ContextOverflow):
        await llama.chat(request(model=llama_server.model, messages=long), lambda _: None)

"""OpenAI's API: against servers that misbehave, and a real one."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from fake_server import AT_ONCE_SECONDS, Answer, FakeServer, answer, fake_server, hang, sse, stream
from llama import LlamaServer
from samples import IMAGE, SAID, SCHEMA, USAGE, chunk, end, request

from gz_provider_llm.backends.openai import CAPACITY, OpenAI
from gz_provider_llm.errors import (
    BadRequest,
    ContextOverflow,
    IdleTimeout,
    LlmError,
    ModelNotFound,
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


@asynccontextmanager
async def openai(*script: Answer, is_openai: bool = False) -> AsyncIterator[tuple[OpenAI, FakeServer]]:
    async with fake_server(*script) as server:
        backend = OpenAI(Http(server.url), is_openai=is_openai)
        try:
            yield backend, server
        finally:
            await backend.close()


async def chat(script: Answer, **members: Any) -> tuple[ChatResult, list[str]]:
    deltas: list[str] = []
    async with openai(script) as (backend, _):
        return await backend.chat(request(**members), deltas.append), deltas


async def test_a_stream() -> None:
    text = sse(
        chunk(role="assistant", content=""), chunk(content="Hel"), chunk(content="lo"), end("stop"), USAGE, "[DONE]"
    )
    result, deltas = await chat(stream(*(text[at : at + 7] for at in range(0, len(text), 7))))
    assert result == ChatResult(content="Hello", model="m-1", usage=Usage(3, 2))
    assert deltas == ["Hel", "lo"]


async def test_all_at_once() -> None:
    body = {
        "model": "m-1",
        "choices": [{"message": {"content": "Hello", "reasoning_content": "hm"}, "finish_reason": "length"}],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 2,
            "completion_tokens_details": {"reasoning_tokens": 1},
            "prompt_tokens_details": {"cached_tokens": 2},
        },
        "timings": {"prompt_ms": 1.5, "predicted_ms": 2.5, "prompt_n": 3},
    }
    result, deltas = await chat(answer(200, body), stream=False)
    assert result == ChatResult(
        content="Hello", model="m-1", finish_reason="length", usage=Usage(3, 2, 1, 2), reasoning="hm",
        timings_ms={"prompt": 1.5, "generate": 2.5},
    )  # fmt: skip
    assert deltas == []


async def test_a_server_that_answers_at_once_what_it_was_to_stream() -> None:
    body = {"model": "m-1", "choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}
    result, deltas = await chat(answer(200, body))
    assert (result.content, result.model, deltas) == ("Hello", "m-1", ["Hello"])


async def test_tool_calls_come_in_pieces() -> None:
    pieces = [
        chunk(tool_calls=[{"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x"'}}]),
        chunk(tool_calls=[{"index": 0, "function": {"arguments": ": 1}"}}]),
        chunk(tool_calls=[{"index": 1, "id": "b", "function": {"name": "g", "arguments": ""}}]),
        end("tool_calls"),
    ]
    result, _ = await chat(stream(sse(*pieces, "[DONE]")))
    assert result.tool_calls == (ToolCall("a", "f", {"x": 1}), ToolCall("b", "g", {}))
    assert (result.content, result.finish_reason) == ("", "tool_calls")


async def test_tool_calls_of_servers_with_their_own_ideas() -> None:
    call = {"function": {"name": "f", "arguments": {"x": 1}}}
    body = {"choices": [{"message": {"content": None, "tool_calls": [call]}, "finish_reason": "function_call"}]}
    result, _ = await chat(answer(200, body), stream=False)
    assert result.tool_calls == (ToolCall("call_0", "f", {"x": 1}),)
    assert (result.finish_reason, result.usage, result.model) == ("tool_calls", None, "m")


async def test_reasoning_is_no_part_of_the_answer() -> None:
    text = sse(chunk(reasoning_content="hm"), chunk(reasoning=", well"), chunk(content="42"), end("stop"))
    result, deltas = await chat(stream(text))
    assert (result.reasoning, result.content, deltas) == ("hm, well", "42", ["42"])


async def test_calls_with_ids_and_names_of_their_own_are_apart_though_their_index_is_the_same() -> None:
    whole = [{"index": 0, "id": n, "function": {"name": "f", "arguments": f'{{"x": {n}}}'}} for n in "12"]
    result, _ = await chat(stream(sse(*(chunk(tool_calls=[call]) for call in whole), end("stop"))))
    assert result.tool_calls == (ToolCall("1", "f", {"x": 1}), ToolCall("2", "f", {"x": 2}))
    assert result.finish_reason == "tool_calls"


def piece(name: str = "", arguments: str = "", **more: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments} if name else {"arguments": arguments}, **more}


F, G = ("f", {"x": 1}), ("g", {"y": 2})


@pytest.mark.parametrize(
    ("pieces", "calls"),
    [
        ([piece("f", '{"x"', index=0, id="1"), piece("g", '{"y"', index=1, id="2"), piece("", ": 1}", index=0),
          piece("", ": 2}", index=1)], [F, G]),
        ([piece("g", '{"y"', index=1, id="2"), piece("f", '{"x": 1}', index=0, id="1"), piece("", ": 2}", index=1)],
         [F, G]),
        ([piece("f", '{"x": 1}', index=None), piece("g", '{"y": 2}', index=None)], [F, G]),
        ([piece("f", '{"x": 1}', index=0), piece("f", '{"x": 1}', index=0)], [F, F]),
        ([piece("f", index=0), piece("g", '{"y": 2}', index=0)], [("f", {}), G]),
        ([piece("f", '{"x"'), piece("f", ": 1}")], [F]),
        ([piece("f", '{"x"', id="1"), piece("f", ": 1}", id="1")], [F]),
        ([piece("f", '{"x": 1}', index=0, id="1"), piece("g", '{"y"', index=1, id="2"), piece("", ": 2}")], [F, G]),
        ([piece("f", '{"x"', id="1"), piece("", ": 1}", index=0)], [F]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("at_once", [True, False])
async def test_calls_are_told_apart_also_where_servers_number_them_badly(
    pieces: list[dict[str, Any]], calls: list[tuple[str, Any]], at_once: bool
) -> None:
    chunks = [chunk(tool_calls=pieces)] if at_once else [chunk(tool_calls=[one]) for one in pieces]
    result, _ = await chat(stream(sse(*chunks, end("tool_calls"))))
    assert [(call.name, call.arguments) for call in result.tool_calls] == calls
    assert len({call.id for call in result.tool_calls}) == len(calls)


async def test_a_call_from_before_there_could_be_several() -> None:
    pieces = [chunk(function_call={"name": "f", "arguments": ""}), chunk(function_call={"arguments": '{"x": 1}'})]
    result, _ = await chat(stream(sse(*pieces, end("function_call"))))
    assert (result.tool_calls, result.finish_reason) == ((ToolCall("call_0", "f", {"x": 1}),), "tool_calls")


async def test_of_several_answers_the_first_is_taken() -> None:
    other = {"choices": [{"index": 1, "delta": {"content": "Good day"}, "finish_reason": "length"}]}
    result, deltas = await chat(stream(sse(chunk(content="Hel"), other, chunk(content="lo"), end("stop"), other)))
    assert (result.content, result.finish_reason, deltas) == ("Hello", "stop", ["Hel", "lo"])
    both = {"choices": other["choices"] + chunk(content="Hello")["choices"]}
    result, _ = await chat(stream(sse(both, end("stop"))))
    assert result.content == "Hello"


async def test_what_keeps_a_stream_alive_is_no_part_of_it() -> None:
    pieces = (
        ": OPENROUTER PROCESSING\n\n",
        "data:\n\n",
        "event: ping\ndata: {}\n\n",
        "data:" + json.dumps(end("stop")),
    )
    result, deltas = await chat(stream("\ufeff", sse(chunk(content="Hello")), *pieces))
    assert (result.content, deltas) == ("Hello", ["Hello"])


async def test_thoughts_and_text_as_parts_of_one_content() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "h"}]}
    pieces = [chunk(content=[thought]), chunk(content=[{"type": "thinking", "thinking": "m"}])]
    pieces += [chunk(content=[{"type": "text", "text": "Hel"}]), chunk(content="lo")]
    result, deltas = await chat(stream(sse(*pieces, end("model_length"))))
    assert (result.reasoning, result.content, deltas) == ("hm", "Hello", ["Hel", "lo"])
    assert result.finish_reason == "length"


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (stream(sse(chunk(content="Hel"), end("error"), "[DONE]")), ServerError),
        (stream(sse(chunk(content="Hel"), end("insufficient_system_resource"), "[DONE]")), ServerError),
        (stream(sse(chunk(content="Hel"), end("abort"), "[DONE]")), ServerError),
        (stream(sse(chunk(content="Hel"))), StreamCut),
        (stream(sse(chunk(content="Hel")), then="cut"), StreamCut),
        (stream(), StreamCut),
        (stream("da"), StreamCut),
        (answer(204, ""), StreamCut),
        (stream(sse({"choices": []}, "[DONE]")), ServerError),
        (stream(sse({"object": "error", "message": "boom", "code": 500}, "[DONE]")), ServerError),
        (stream(sse(chunk(content="Hel"), {"error": {"message": "slow down", "code": "429"}})), RateLimited),
        (stream(sse([{"error": {"message": "exhausted", "code": 429}}])), RateLimited),
        (stream(sse({"choices": [{"delta": {}, "finish_reason": "error", "error": {"code": 429, "message": "x"}}]})),
         RateLimited),
        (answer(503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}), RateLimited),
        (stream(sse(chunk(content="Hel"), {"error": {"message": "boom", "code": 500}})), ServerError),
        (stream(sse({"error": {"message": "boom"}}, name="error")), ServerError),
        (stream('error: {"code": 500, "message": "boom"}\n\n'), ServerError),
        (stream(sse("{broken")), ServerError),
        (answer(200, "<html>log in</html>"), ServerError),
        (stream(sse(["no", "object"])), ServerError),
        (stream(sse({"choices": ["no", "object"]})), ServerError),
        (stream(sse(chunk(tool_calls=[3]))), ServerError),
        (stream(sse({"error": {"message": "prompt exceeds the context window", "code": 400}})), ContextOverflow),
        (stream(sse(chunk(refusal="I must not"), end("stop"))), Refused),
        (stream(sse(end("content_filter"))), Refused),
        (answer(401, {"error": {"message": "bad key"}}), Unauthorized),
        (answer(404, {"error": {"message": "The model `m` does not exist"}}), ModelNotFound),
        (answer(429, {"error": {"message": "slow down"}}, retry_after="3"), RateLimited),
        (answer(500, ""), ServerError),
    ],
)  # fmt: skip
async def test_what_goes_wrong_has_a_name(script: Answer, kind: type[LlmError]) -> None:
    with pytest.raises(kind) as caught:
        await chat(script)
    assert type(caught.value) is kind


@pytest.mark.parametrize("body", [[], {}, {"choices": []}, {"choices": [3]}, {"error": {"message": "boom"}}])
async def test_a_whole_answer_that_is_none(body: object) -> None:
    with pytest.raises(ServerError):
        await chat(answer(200, body), stream=False)


@pytest.mark.parametrize("then", ["end", "cut"])
async def test_a_stream_without_its_last_line_is_whole_if_it_said_why_it_ends(then: str) -> None:
    result, _ = await chat(stream(sse(chunk(content="Hello"), end("stop")), then=then))
    assert result.content == "Hello"


@pytest.mark.parametrize(
    ("said", "reason"),
    [("STOP", "stop"), ("MAX_TOKENS", "length"), ("sensitive", "content_filter"), ("of its own", "of its own")],
)
async def test_why_it_ends_in_the_words_of_many_servers(said: str, reason: str) -> None:
    result, _ = await chat(stream(sse(chunk(content="Hello"), end(said))))
    assert result.finish_reason == reason


async def test_groq_counts_in_a_place_of_its_own() -> None:
    last = {**end("stop"), "x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 2}}}
    result, _ = await chat(stream(sse(chunk(content="Hello", thinking="hm"), last, " [DONE] ")))
    assert (result.usage, result.reasoning) == (Usage(3, 2), "hm")


async def body_of(is_openai: bool = False, **members: Any) -> tuple[str, Any]:
    async with openai(stream(sse(chunk(content="x"), "[DONE]")), is_openai=is_openai) as (backend, server):
        await backend.chat(request(**members), lambda delta: None)
        return server.asked[0].path, server.asked[0].body


async def test_a_request_says_only_what_was_said() -> None:
    path, body = await body_of()
    assert path == "/chat/completions"
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_params_of_compatible_servers() -> None:
    _, body = await body_of(**SAID, options={"top_k": 7, "mirostat": 2})
    for name in ("model", "messages", "stream", "stream_options"):
        del body[name]
    assert body == {
        "temperature": 0, "max_tokens": 5, "top_p": 0.5, "top_k": 7, "seed": 0, "stop": ["a"], "repeat_penalty": 1.1,
        "presence_penalty": 1, "frequency_penalty": 1, "reasoning_effort": "low", "mirostat": 2,
    }  # fmt: skip


async def test_params_of_openai_itself() -> None:
    _, body = await body_of(is_openai=True, **SAID)
    assert body["max_completion_tokens"] == 5
    assert not {"max_tokens", "top_k", "repeat_penalty", "num_ctx"} & body.keys()
    assert OpenAI(Http("http://x"), is_openai=True).ignored == {
        *("top_k", "repeat_penalty", "num_ctx", "load_balancing_strategy")
    }
    assert OpenAI(Http("http://x"), is_openai=False).ignored == {"num_ctx", "load_balancing_strategy"}


async def test_messages_on_the_wire() -> None:
    messages = (
        Message(role="system", content="s"),
        Message(role="user", content="look", images=(IMAGE,), name="ann"),
        Message(role="assistant", tool_calls=(ToolCall("1", "f", {"x": 1}), ToolCall("2", "f", "{broken"))),
        Message(role="tool", content="7", tool_call_id="1", name="f"),
    )
    _, body = await body_of(messages=messages)
    image = {"type": "image_url", "image_url": {"url": IMAGE.data_url}}
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    broken = {"id": "2", "type": "function", "function": {"name": "f", "arguments": "{broken"}}
    assert body["messages"] == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "look"}, image], "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [call, broken]},
        {"role": "tool", "content": "7", "tool_call_id": "1"},
    ]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [({"tool_choice": "required"}, "required"), ({"tool_name": "f"}, {"type": "function", "function": {"name": "f"}})],
)
async def test_tools_on_the_wire(choice: dict[str, Any], expected: object) -> None:
    _, body = await body_of(tools=(Tool("f", "d", SCHEMA),), **choice)
    assert body["tools"] == [{"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}]
    assert body["tool_choice"] == expected


@pytest.mark.parametrize(
    ("is_openai", "members", "waits"),
    [(False, {}, False), (True, {}, True), (False, {"reasoning_effort": "high"}, True),
     (False, {"reasoning_effort": "none"}, False)],
)  # fmt: skip
async def test_a_model_that_thinks_may_be_silent_meanwhile(
    is_openai: bool, members: dict[str, Any], waits: bool
) -> None:
    thought = asyncio.Event()

    async def thinks(writer: asyncio.StreamWriter) -> str | None:
        await thought.wait()
        return await HELLO(writer)

    async with fake_server(thinks) as server:
        backend = OpenAI(Http(server.url, idle_timeout_seconds=0.1, long_silence_seconds=20), is_openai=is_openai)
        asyncio.get_running_loop().call_later(0.3 if waits else 20, thought.set)
        with nullcontext() if waits else pytest.raises(IdleTimeout):
            assert (await backend.chat(request(**members), lambda delta: None)).content == "{}"
        await backend.close()


async def test_formats_on_the_wire() -> None:
    _, body = await body_of(json=True)
    assert body["response_format"] == {"type": "json_object"}
    _, body = await body_of(json=True, json_schema=SCHEMA, json_strict=True)
    assert body["response_format"]["json_schema"] == {"name": "answer", "schema": SCHEMA, "strict": True}


async def test_openai_takes_json_object_only_where_there_is_talk_of_json() -> None:
    _, body = await body_of(json=True)
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert "JSON" in body["messages"][0]["content"]
    _, body = await body_of(json=True, messages=(Message(role="user", content="as json, please"),))
    assert len(body["messages"]) == 1


def refusal(message: str) -> Answer:
    return answer(400, {"error": {"message": message, "type": "invalid_request_error"}})


HELLO = stream(sse(chunk(content="{}"), end("stop"), "[DONE]"))


@pytest.mark.parametrize(
    ("says", "member", "lacks", "has"),
    [
        ("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
         {"max_tokens": 5}, "max_tokens", "max_completion_tokens"),
        ("Unrecognized request argument supplied: stream_options", {}, "stream_options", "stream"),
        ("This response_format type is unavailable now", {"json": True}, "response_format", "messages"),
        ("'response_format.type' must be 'json_schema' or 'text'", {"json": True}, "response_format", "messages"),
    ],
)  # fmt: skip
async def test_what_a_model_does_not_take_is_learnt(says: str, member: dict[str, Any], lacks: str, has: str) -> None:
    async with openai(refusal(says), HELLO) as (backend, server):
        for _ in range(2):
            result = await backend.chat(request(**member), lambda delta: None)
            assert (result.content, result.warnings) == ("{}", ())
        first, *others = [asked.body for asked in server.asked]
    assert len(others) == 2  # it is refused once, and not tried again
    assert lacks in first
    assert all(lacks not in body and has in body for body in others)


async def test_json_by_a_schema_is_asked_for_in_words_where_the_server_knows_none() -> None:
    no = refusal("response_format: not available")
    async with openai(no, no, HELLO) as (backend, server):
        await backend.chat(request(json=True, json_schema=SCHEMA), lambda delta: None)
        asked = [(body.get("response_format"), body["messages"]) for body in (asked.body for asked in server.asked)]
    assert [format and format["type"] for format, _ in asked] == ["json_schema", "json_object", None]
    assert ['"required":["a"]' in messages[0]["content"] for _, messages in asked] == [False, True, True]


@pytest.mark.parametrize(
    "says",
    [
        "JSON schema error at #/properties/next: unsupported $ref #",
        "The provided JSON schema contains features not supported by xgrammar.",
        "The specified schema produces a constraint that has too many states for serving.",
    ],
)
async def test_a_schema_that_a_server_cannot_follow_is_told_in_words_alone(says: str) -> None:
    async with openai(refusal(says), HELLO) as (backend, server):
        result = await backend.chat(request(json=True, json_schema=SCHEMA), lambda delta: None)
        assert "told it in words" in result.warnings[0]
        assert server.asked[1].body["response_format"] == {"type": "json_object"}
        assert '"required":["a"]' in server.asked[1].body["messages"][0]["content"]
        await backend.chat(request(json=True, json_schema={"type": "boolean"}), lambda delta: None)
        assert server.asked[2].body["response_format"]["type"] == "json_schema"  # of others it says nothing


async def test_what_is_no_object_is_not_asked_for_as_one() -> None:
    async with openai(refusal("response_format: not available"), HELLO) as (backend, server):
        await backend.chat(request(json=True, json_schema={"type": "array"}), lambda delta: None)
        assert "response_format" not in server.asked[1].body
        assert '{"type":"array"}' in server.asked[1].body["messages"][0]["content"]


async def test_real_json_by_schemas_that_its_server_cannot_follow(llama_server: LlamaServer) -> None:
    backend = OpenAI(Http(f"{llama_server.url}/v1"), is_openai=False)
    itself = {"type": "object", "properties": {"next": {"$ref": "#"}}, "additionalProperties": False}
    for schema in (itself, {"type": "object", "properties": {"a": True}}):
        wanted = request(model=llama_server.model, json=True, json_schema=schema, seed=1, max_tokens=9)
        assert (await backend.chat(wanted, lambda delta: None)).warnings
    await backend.close()


async def test_what_is_left_out_is_told() -> None:
    says = "Unsupported value: 'temperature' does not support 0.2 with this model."
    async with openai(refusal(says), HELLO) as (backend, _):
        result = await backend.chat(request(temperature=0.2), lambda delta: None)
        assert result.warnings == ("m takes no temperature: it was left out",)
        result = await backend.chat(request(), lambda delta: None)
        assert result.warnings == ()


@pytest.mark.parametrize(
    ("says", "name", "value"),
    [
        ("Unknown parameter: 'top_k'.", "top_k", 3),
        ('Invalid JSON payload received. Unknown name "seed": Cannot find field.', "seed", 1),
        ("Argument not supported on this model: presencePenalty", "presence_penalty", 1),
        ("Additional properties are not allowed ('seed' was unexpected)", "seed", 1),
        ("`reasoning_effort` must be one of `none` or `default`", "reasoning_effort", "low"),
        ("[{'loc': ('body', 'reasoning_effort'), 'msg': \"Input should be 'low'\"}]", "reasoning_effort", "none"),
    ],
)
async def test_what_a_model_does_not_take_in_the_words_of_many_servers(says: str, name: str, value: object) -> None:
    async with openai(refusal(says), HELLO) as (backend, server):
        result = await backend.chat(request(**{name: value}), lambda delta: None)
        assert result.warnings == (f"m takes no {name}: it was left out",)
        assert [name in asked.body for asked in server.asked] == [True, False]


async def test_what_is_not_taken_together_may_be_taken_alone() -> None:
    says = "Unsupported parameter: 'temperature' is not supported with a reasoning effort."
    async with openai(refusal(says), HELLO) as (backend, server):
        await backend.chat(request(temperature=0.2, reasoning_effort="low"), lambda delta: None)
        result = await backend.chat(request(temperature=0.2), lambda delta: None)
        assert (server.asked[-1].body["temperature"], result.warnings) == (0.2, ())


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (400, "System role not supported"),
        (500, "Jinja Exception: System role not supported"),
        (400, "Only user, assistant and tool roles are supported, got system."),
        (400, "Unsupported value: 'messages[0].role' does not support 'system' with this model."),
        (500, "Conversation roles must alternate user/assistant/user/assistant/..."),
    ],
)
async def test_a_model_without_a_system_s_role_is_told_by_the_user(status: int, says: str) -> None:
    said = (Message(role="system", content="s"), Message(role="user", content="u"))
    async with openai(answer(status, {"error": {"message": says}}), HELLO) as (backend, server):
        for _ in range(2):
            await backend.chat(request(messages=said), lambda delta: None)
        assert [[message["role"] for message in asked.body["messages"]] for asked in server.asked] == [
            ["system", "user"], ["user"], ["user"],
        ]  # fmt: skip
        assert server.asked[-1].body["messages"] == [{"role": "user", "content": "s\n\nu"}]


async def test_a_model_to_whom_is_spoken_in_turn_hears_one_message_for_two() -> None:
    says = "After the optional system message, conversation roles must alternate user/assistant/user/assistant/..."
    calls = (ToolCall("1", "f", {}),)
    said = [
        Message(role="system", content="s"), Message(role="user", content="a"),
        Message(role="user", content="b", images=(IMAGE,)), Message(role="assistant", tool_calls=calls),
        Message(role="tool", content="7", tool_call_id="1"), Message(role="tool", content="8", tool_call_id="1"),
    ]  # fmt: skip
    async with openai(refusal(says), HELLO) as (backend, server):
        await backend.chat(request(messages=tuple(said)), lambda delta: None)
        roles = [message["role"] for message in server.asked[1].body["messages"]]
        assert roles == ["system", "user", "assistant", "tool", "tool"]
        assert server.asked[1].body["messages"][1]["content"][0] == {"type": "text", "text": "a\n\nb"}
    async with openai(refusal(says)) as (backend, server):
        with pytest.raises(BadRequest):
            await backend.chat(request(messages=(said[0], said[3])), lambda delta: None)
        assert len(server.asked) == 1


@pytest.mark.parametrize("says", ["temperature must be below 2", "Invalid schema for response_format 'answer'"])
async def test_mistakes_are_not_asked_again(says: str) -> None:
    async with openai(refusal(says)) as (backend, server):
        with pytest.raises(BadRequest):
            await backend.chat(request(temperature=3, json=True, json_schema=SCHEMA), lambda delta: None)
        assert len(server.asked) == 1


async def test_thoughts_go_back_with_the_calls_that_they_led_to() -> None:
    calls = (ToolCall("1", "f", {}),)
    messages = (
        Message(role="user", content="hi"),
        Message(role="assistant", content="a", reasoning="done with"),
        Message(role="assistant", reasoning="hm", tool_calls=calls),
        Message(role="tool", content="7", tool_call_id="1"),
    )
    _, body = await body_of(messages=messages)
    assert [message.get("reasoning_content") for message in body["messages"]] == [None, None, "hm", None]
    _, body = await body_of(messages=messages, is_openai=True)
    assert not any("reasoning_content" in message for message in body["messages"])


async def test_strict_tools_and_images_in_the_web() -> None:
    _, body = await body_of(
        tools=(Tool("f", "d", SCHEMA, True), Tool("browser_search", "", {}, own={"type": "browser_search"})),
        messages=(Message(role="user", images=(Image("", "", "https://example.org/a.png"),)),),
    )
    assert body["tools"][0]["function"]["strict"] is True
    assert body["tools"][1] == {"type": "browser_search"}
    assert body["messages"][0]["content"] == [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]


async def test_raw() -> None:
    path, body = await body_of(raw=True, max_tokens=5, is_openai=True)
    assert path == "/completions"
    assert (body["prompt"], body["max_tokens"]) == ("hi", 5)
    assert "messages" not in body
    assert "max_completion_tokens" not in body
    with pytest.raises(BadRequest):
        await body_of(raw=True, messages=(Message(role="system", content="s"), Message(role="user", content="u")))


async def test_embeddings_in_base64() -> None:
    body = {"data": [{"embedding": "AACAPwAAAEA="}]}
    others = [answer(200, {"data": [{"embedding": other}]}) for other in (3, "AACAPwA=", "?")]
    async with openai(answer(200, body), *others) as (backend, _):
        wanted = EmbedRequest(model="e", inputs=("a",), options={"encoding_format": "base64"})
        assert (await backend.embed(wanted)).embeddings == [[1.0, 2.0]]
        for _ in others:
            with pytest.raises(ServerError, match="embeddings for each input"):
                await backend.embed(wanted)


async def test_an_error_with_status_200() -> None:
    async with openai(answer(200, {"error": {"message": "bad key", "code": 401}})) as (backend, _):
        with pytest.raises(Unauthorized, match="bad key"):
            await backend.embed(EmbedRequest(model="e", inputs=("a",)))
        with pytest.raises(Unauthorized, match="bad key"):
            await backend.models()


async def test_a_list_of_models_that_is_no_more_than_that() -> None:
    async with openai(answer(200, [{"id": "a"}, {"id": "b"}])) as (backend, _):
        assert [model.name for model in await backend.models()] == ["a", "b"]


@pytest.mark.parametrize(("most", "characters"), [(3, 1000), (1000, 12), (1, 1)])
async def test_many_inputs_go_in_several_requests(
    embedding_server: LlamaServer, monkeypatch: pytest.MonkeyPatch, most: int, characters: int
) -> None:
    backend = OpenAI(Http(f"{embedding_server.url}/v1"), is_openai=False)
    wanted = EmbedRequest(model=embedding_server.model, inputs=tuple("text " * n for n in range(1, 8)))
    whole = await backend.embed(wanted)
    monkeypatch.setattr("gz_provider_llm.backends.openai.MOST_INPUTS", most)
    monkeypatch.setattr("gz_provider_llm.backends.openai.MOST_CHARACTERS", characters)
    parts = await backend.embed(wanted)
    await backend.close()
    assert len(parts.embeddings) == 7
    for one, other in zip(whole.embeddings, parts.embeddings, strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    assert parts.usage == whole.usage


async def test_embeddings_keep_their_order() -> None:
    body = {
        "model": "e-1",
        "data": [{"index": 1, "embedding": [2]}, {"index": 0, "embedding": [1]}],
        "usage": {"prompt_tokens": 2},
    }
    async with openai(answer(200, body)) as (backend, server):
        result = await backend.embed(EmbedRequest(model="e", inputs=("a", "b"), dimensions=1))
        assert server.asked[0].body == {"model": "e", "input": ["a", "b"], "dimensions": 1}
    assert (result.embeddings, result.model, result.usage) == ([[1], [2]], "e-1", Usage(2, 0))


@pytest.mark.parametrize("body", [{"data": []}, {"data": [{"embedding": [1]}]}, {"data": [{}, {}]}, {}, []])
async def test_embeddings_that_are_missing(body: object) -> None:
    async with openai(answer(200, body)) as (backend, _):
        with pytest.raises(ServerError, match="embeddings for each input"):
            await backend.embed(EmbedRequest(model="e", inputs=("a", "b")))


async def test_cancelling_ends_the_generation() -> None:
    async with openai(stream(sse(chunk(content="Hel")), then="hang")) as (backend, server):
        began = asyncio.Event()
        task = asyncio.create_task(backend.chat(request(), lambda delta: began.set()))
        await asyncio.wait_for(began.wait(), 30)
        cancelled_at = asyncio.get_running_loop().time()
        task.cancel()
        gone_at = await asyncio.wait_for(server.gone.get(), 30)
        assert gone_at - cancelled_at < AT_ONCE_SECONDS
        with pytest.raises(asyncio.CancelledError):
            await task


# A real server


@pytest.fixture
async def llama(llama_server: LlamaServer) -> AsyncIterator[OpenAI]:
    backend = OpenAI(Http(f"{llama_server.url}/v1"), is_openai=False)
    yield backend
    await backend.close()


@pytest.mark.parametrize("raw", [False, True])
async def test_real_answers(llama: OpenAI, llama_server: LlamaServer, raw: bool) -> None:
    asked = request(model=llama_server.model, max_tokens=8, seed=1, temperature=0, raw=raw)
    deltas: list[str] = []
    streamed = await llama.chat(asked, deltas.append)
    assert "".join(deltas) == streamed.content
    assert len(deltas) > 1
    assert (streamed.finish_reason, streamed.model) == ("length", llama_server.model)
    assert streamed.usage is not None
    assert streamed.usage.input_tokens > 0
    assert streamed.usage.output_tokens == 8
    assert streamed.timings_ms.keys() == {"prompt", "generate"}
    whole = await llama.chat(
        request(model=llama_server.model, max_tokens=8, seed=1, temperature=0, raw=raw, stream=False), deltas.append
    )
    assert whole.content == streamed.content


async def test_real_json(llama: OpenAI, llama_server: LlamaServer) -> None:
    result = await llama.chat(
        request(model=llama_server.model, json=True, json_schema=SCHEMA, max_tokens=200), lambda _: None
    )
    assert result.content.strip().startswith("{")
    assert result.finish_reason == "stop"


async def test_a_real_model_that_sees_no_images(llama_server: LlamaServer) -> None:
    backend = OpenAI(Http(f"{llama_server.url}/v1"), is_openai=False)
    shown = request(model=llama_server.model, messages=(Message(role="user", content="hi", images=(IMAGE,)),))
    with pytest.raises(BadRequest, match="image input is not supported"):
        await backend.chat(shown, lambda delta: None)
    await backend.close()


async def test_real_context_overflow(llama: OpenAI, llama_server: LlamaServer) -> None:
    long = (Message(role="user", content="sun " * 40_000),)
    with pytest.raises(ContextOverflow, match="tokens"):
        await llama.chat(request(model=llama_server.model, messages=long), lambda _: None)


async def test_real_models_and_embeddings(
    llama: OpenAI, llama_server: LlamaServer, embedding_server: LlamaServer
) -> None:
    assert [model.name for model in await llama.models()] == [llama_server.model]
    backend = OpenAI(Http(f"{embedding_server.url}/v1"), is_openai=False)
    result = await backend.embed(EmbedRequest(model=embedding_server.model, inputs=("the sun", "the sea", "the sun")))
    await backend.close()
    assert [len(vector) for vector in result.embeddings] == [64, 64, 64]
    assert result.embeddings[0] == pytest.approx(result.embeddings[2], abs=1e-3)
    assert result.embeddings[0] != pytest.approx(result.embeddings[1], abs=1e-3)


async def test_real_key(guarded_server: LlamaServer) -> None:
    backend = OpenAI(Http(f"{guarded_server.url}/v1"), is_openai=False)
    with pytest.raises(Unauthorized):
        await backend.chat(request(), lambda _: None)
    await backend.close()


async def test_capacity_follows_the_server() -> None:
    async with openai(answer(200, {})) as (backend, server):
        assert backend.capacity == CAPACITY
        await backend.follow()
        assert backend.capacity == CAPACITY, "it does not say"
        server.beside["/props"] = answer(200, {"total_slots": 3})
        await backend.follow()
        assert backend.capacity == 3
        server.beside["/props"] = answer(200, {"total_slots": "many"})
        await backend.follow()
        assert backend.capacity == 3
        assert server.asked == [], "OpenAI's own paths are left alone"
        chosen = OpenAI(Http(server.url), is_openai=False, capacity=7)
        server.beside["/props"] = answer(200, {"total_slots": 1})
        await chosen.follow()
        assert chosen.capacity == 7


async def test_who_waits_for_a_slot_is_not_at_a_server_that_hangs(tiny_gguf: Path) -> None:
    server = LlamaServer(tiny_gguf, "--parallel", "1", "--context", "16384")
    backend = OpenAI(Http(f"{server.url}/v1", idle_timeout_seconds=0.1), is_openai=False)
    try:
        await backend.follow()
        assert backend.capacity == 1
        began = asyncio.Event()
        endless = request(model="tiny", max_tokens=15_000)
        first = asyncio.create_task(backend.chat(endless, lambda _: began.set()))
        await began.wait()
        second = asyncio.create_task(backend.chat(request(model="tiny", max_tokens=3), lambda _: None))
        done, _ = await asyncio.wait([first, second], timeout=0.5)
        assert not done, "it waits for its turn, though the idle timeout is long over"
        first.cancel()
        assert len((await asyncio.wait_for(second, 30)).content.split()) == 3
    finally:
        await backend.close()
        await asyncio.to_thread(server.stop)


@pytest.mark.parametrize(
    "about",
    [answer(404, {}), answer(200, [{"is_processing": False}]), answer(200, {"x": 1}), answer(200, [1])],
    ids=["no slots", "idle slots", "no list", "nonsense"],
)
async def test_a_server_that_does_not_work_on_anything_hangs(about: Answer) -> None:
    async with fake_server(hang) as server:
        server.beside["/slots"] = about
        backend = OpenAI(Http(server.url, idle_timeout_seconds=0.1), is_openai=False)
        with pytest.raises(IdleTimeout):
            await asyncio.wait_for(backend.chat(request(), lambda _: None), 30)
        await backend.close()


async def test_thoughts_in_the_text_are_no_part_of_what_is_said() -> None:
    pieces = ("<thi", "nk>\nhm", "m</thi", "nk>\n\nan", "swer")
    result, deltas = await chat(stream(sse(*(chunk(content=piece) for piece in pieces), end("stop"))))
    assert (result.content, result.reasoning, "".join(deltas)) == ("answer", "hmm", "answer")
    result, deltas = await chat(stream(sse(chunk(content="<thi"), end("stop"))))
    assert (result.content, deltas) == ("<thi", ["<thi"])


async def test_what_only_keeps_the_connection_is_passed_over() -> None:
    script = stream("event: ping\ndata: keepalive\n\n", sse(chunk(content="x"), end("stop")))
    result, _ = await chat(script)
    assert result.content == "x"


async def test_how_closely_an_image_is_looked_at() -> None:
    near = Image("", "", "https://x.example/a.png", "low")
    async with openai(stream(sse(chunk(content="x"), end("stop")))) as (backend, server):
        await backend.chat(request(messages=(Message(role="user", images=(near, IMAGE)),)), lambda text: None)
        first, second = server.asked[0].body["messages"][0]["content"]
    assert first["image_url"] == {"url": near.url, "detail": "low"}
    assert second["image_url"] == {"url": IMAGE.data_url}

"""What a server says in a way that its API does not allow is an error with a name, or is passed over: it is never a
failure of ours, nor a result that our schemas refuse."""

import copy
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from gz_provider_llm.backends import anthropic_answer, ollama_wire, openai_answer
from gz_provider_llm.errors import LlmError
from gz_provider_llm.shapes.results import ChatResult, chat_wire
from gz_provider_llm.transport.http import Http

STRANGE: tuple[Any, ...] = (None, 7, -1, 2.5, "x", "", True, [], [3], ["x"], [None], [{}], {}, {"a": 1})


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


OPENAI: list[Any] = [
    chunk(content="a", reasoning_content="r", refusal=""),
    chunk(content=[{"type": "text", "text": "b"}, {"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}]),
    chunk(tool_calls=[{"index": 0, "id": "1", "function": {"name": "f", "arguments": "{}"}}]),
    chunk("stop"),
    {
        "choices": [],
        "usage": {
            "prompt_tokens": 1,
            "completion_tokens": 2,
            "prompt_tokens_details": {"cached_tokens": 1},
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
        "timings": {"prompt_ms": 1},
    },
]
ANTHROPIC: list[Any] = [
    {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 1, "cache_read_input_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "signature_delta", "signature": "s"}},
    {"type": "content_block_start", "index": 2, "content_block": {"type": "redacted_thinking", "data": "x"}},
    {"type": "content_block_start", "index": 3, "content_block": {"type": "tool_use", "id": "1", "name": "f"}},
    {"type": "content_block_delta", "index": 3, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]
CALL = {"id": "1", "function": {"name": "f", "arguments": {}}}
OLLAMA: list[Any] = [
    {"message": {"content": "a", "thinking": "t", "tool_calls": [CALL]}, "done": False},
    {"response": "a", "done": False},
    {"model": "m", "done": True, "done_reason": "stop", "load_duration": 1, "prompt_eval_count": 1, "eval_count": 2},
]


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Inside each event."""
    if len(at) > 1:
        yield at
    if isinstance(value, dict | list):
        for key, below in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(below, (*at, key))


def with_strange(events: list[Any], at: tuple[Any, ...], value: Any) -> list[Any]:
    changed = copy.deepcopy(events)
    inner: Any = changed
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = value
    return changed


@pytest.mark.parametrize(
    ("events", "begin", "end"),
    [
        (OPENAI, lambda: openai_answer.Answer("m"), lambda answer: answer.result()),
        (ANTHROPIC, lambda: anthropic_answer.Answer("m"), lambda answer: answer.result()),
        (OLLAMA, ollama_wire.Answer, lambda answer: answer.result("m", "here")),
    ],
    ids=["openai", "anthropic", "ollama"],
)
def test_strange_answers(events: list[Any], begin: Callable[[], Any], end: Callable[[Any], ChatResult]) -> None:
    http = Http("http://127.0.0.1:1")
    results = 0
    for at in places(events):
        for value in STRANGE:
            answer = begin()
            with suppress(LlmError):
                for event in with_strange(events, at, value):
                    with http.server.reading("an answer"):
                        assert isinstance(answer.add(event), str)
                result = end(answer)
                msgspec.convert(msgspec.to_builtins(result), ChatResult)  # each member is of its type
                msgspec.json.encode(chat_wire(result, "p", {"total": 1.0}))
                results += 1
    assert results > 100  # most are forgiven

"""What the tests of several rooms ask, and pieces of what servers answer."""

from base64 import b64encode
from typing import Any

from gz_provider_llm.shapes.files import Image
from gz_provider_llm.shapes.requests import ChatRequest, Message

PNG = b"\x89PNG\r\n\x1a\n-the-rest-"
SCHEMA = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": False}
SAID: dict[str, Any] = {
    "temperature": 0, "max_tokens": 5, "top_p": 0.5, "top_k": 3, "seed": 0, "stop": ("a",), "repeat_penalty": 1.1,
    "presence_penalty": 1, "frequency_penalty": 1, "num_ctx": 100, "reasoning_effort": "low",
}  # fmt: skip
USAGE = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}


def encoded(content: bytes) -> str:
    return b64encode(content).decode()


IMAGE = Image("image/png", encoded(PNG))


def request(**members: Any) -> ChatRequest:
    return ChatRequest(**{"model": "m", "messages": (Message(role="user", content="hi"),)} | members)


def chunk(**delta: Any) -> dict[str, Any]:
    """Of an answer of OpenAI's."""
    return {"model": "m-1", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def end(reason: str) -> dict[str, Any]:
    """The last chunk."""
    return {"model": "m-1", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


START = {
    "type": "message_start",
    "message": {"model": "m-1", "usage": {"input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 1}},
}
"""The first event of an answer of Anthropic's."""
STOP = {"type": "message_stop"}
"""The last one."""


def block(at: int, **members: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": at, "content_block": members}


def delta(at: int, **members: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": at, "delta": members}


def ending(reason: str) -> dict[str, Any]:
    """The event before the last."""
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 9}}


def text(*pieces: str) -> list[dict[str, Any]]:
    return [START, block(0, type="text", text=""), *(delta(0, type="text_delta", text=piece) for piece in pieces)]

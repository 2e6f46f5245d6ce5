"""What a back end answers, and how it looks on the wire."""

import re
from collections.abc import Sequence
from typing import Any, Final, TypeGuard

from msgspec import Struct

from gz_provider_llm.shapes.requests import ToolCall


class Usage(Struct, frozen=True):
    """Tokens, as the server counted them. `reasoning_tokens` are among the output, `cached_tokens` among the input."""

    input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cached_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.cached_tokens + other.cached_tokens,
        )


def count_of(value: object) -> int:
    """A number of tokens as a server tells it; 0 where it does not, or says something else."""
    return int(value) if is_number(value) and value > 0 else 0


def is_number(value: object) -> TypeGuard[float]:
    """As JSON has them: true is none."""
    return type(value) in (int, float)


def text_of(value: object, otherwise: str = "") -> str:
    """What has to be a text in a server's answer; `otherwise` where it is none, or empty."""
    return value if isinstance(value, str) and value else otherwise


def vector_of(value: object) -> list[float]:
    """An embedding, as a list of numbers. Raises TypeError for anything else."""
    if not isinstance(value, list) or not value or not all(map(is_number, value)):
        raise TypeError("an embedding is a list of numbers")
    return value


class ChatResult(Struct, frozen=True, kw_only=True):
    """One answer of a model, as a back end reports it.

    `finish_reason` is `stop`, `length`, `tool_calls` or `content_filter`, or the server's own word where none of these
    fits. `usage` is None if the server did not count. `timings_ms` is what the server itself measured (`load`,
    `prompt`, `generate`); the whole and the first token are measured by the methods. `provider_id` tells which of
    several servers answered. `thinking_blocks` are Anthropic's, to be given back to it. `logprobs` are as the server
    tells them, one for each token, if `options` asked for them. `warnings` tell of parameters that the model does not
    take.
    """

    content: str
    model: str
    finish_reason: str = "stop"
    usage: Usage | None = None
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    timings_ms: dict[str, float] = {}
    provider_id: str = ""
    thinking_blocks: tuple[dict[str, Any], ...] = ()
    logprobs: list[Any] = []
    warnings: tuple[str, ...] = ()


class EmbedResult(Struct, frozen=True, kw_only=True):
    """One vector for each input, in their order."""

    embeddings: list[list[float]]
    model: str
    usage: Usage | None = None
    provider_id: str = ""


_DATE: Final = re.compile(r"-20\d{6}$")


def known_as(model: str) -> tuple[str, ...]:
    """The names that a server understands which lists this one: Ollama's users leave `:latest` out, Anthropic's the
    date of a model, or say `-latest` in its place."""
    short = _DATE.sub("", model)
    return (model, short, f"{short}-latest") if short != model else (model, model.removesuffix(":latest"))


class ModelInfo(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model that can be asked. What is not known is left out. `provider_ids` are the servers that have it."""

    name: str
    size_bytes: int | None = None
    context_tokens: int | None = None
    loaded: bool | None = None
    details: dict[str, Any] = {}
    provider_ids: tuple[str, ...] = ()


def chat_wire(
    result: ChatResult, provider: str, timings_ms: dict[str, float], *, offered_tools: bool = False
) -> dict[str, Any]:
    """The result of llm/chat. `timings_ms` has `total`, and `first_token` if anything was streamed."""
    usage = result.usage
    message: dict[str, Any] = {"role": "assistant", "content": result.content}
    wire: dict[str, Any] = {
        "response": result.content,
        "content": result.content,
        "role": "assistant",
        "message": message,
        "model": result.model,
        "finish_reason": result.finish_reason,
        "usage": usage_wire(usage),
        "tokens_used": usage.total_tokens if usage else None,
        "prompt_eval_count": usage.input_tokens if usage else None,
        "eval_count": usage.output_tokens if usage else None,
        "timings_ms": {name: round(ms, 3) for name, ms in {**result.timings_ms, **timings_ms}.items()},
        "total_duration": round(timings_ms["total"] * 1e6),
        "done": True,
        "provider": provider,
        "provider_id": result.provider_id or provider,
    }
    if result.tool_calls:
        wire["tool_calls"] = message["tool_calls"] = [tool_call_wire(call) for call in result.tool_calls]
    elif offered_tools:  # so that a reference to them is never one to nothing
        wire["tool_calls"] = []
    if result.reasoning:
        wire["reasoning"] = message["reasoning"] = result.reasoning
    if result.thinking_blocks:
        message["thinking_blocks"] = list(result.thinking_blocks)
    if result.logprobs:
        wire["logprobs"] = result.logprobs
    if result.warnings:
        wire["warnings"] = list(result.warnings)
    return wire


def embed_wire(result: EmbedResult, provider: str, total_ms: float) -> dict[str, Any]:
    """The result of llm/embeddings: `embedding` is that of the first input, for those who gave only one."""
    return {
        "embedding": result.embeddings[0],
        "embeddings": result.embeddings,
        "dimensions": len(result.embeddings[0]),
        "model": result.model,
        "usage": usage_wire(result.usage),
        "tokens_used": result.usage.total_tokens if result.usage else None,
        "timings_ms": {"total": round(total_ms, 3)},
        "provider": provider,
        "provider_id": result.provider_id or provider,
    }


def usage_wire(usage: Usage | None) -> dict[str, int] | None:
    if usage is None:
        return None
    wire = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
    }
    if usage.reasoning_tokens:
        wire["reasoning_tokens"] = usage.reasoning_tokens
    if usage.cached_tokens:
        wire["cached_tokens"] = usage.cached_tokens
    return wire


def sum_of(used: Sequence[Usage | None]) -> Usage | None:
    """None where nobody has counted."""
    counted = [usage for usage in used if usage is not None]
    return sum(counted[1:], counted[0]) if counted else None


def tool_call_wire(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "name": call.name, "arguments": call.arguments}

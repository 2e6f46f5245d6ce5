"""Conversations as Anthropic's users write them: calls of tools, their results and thoughts are parts of a message's
content there, and become what they are elsewhere, messages and members of messages. No I/O."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

_THOUGHTS: Final = frozenset({"thinking", "redacted_thinking"})
_IDENTIFIED: Final[Mapping[str, str]] = {"tool_use": "name", "tool_result": "tool_use_id"}
"""By their types, the member without which a part is somebody's data that looks a little like one."""


def unfolded(message: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The messages that it is: results of tools, each one of its own, come before what else is said."""
    content = message.get("content")
    if not isinstance(content, list) or not any(map(_is_folded, content)):
        yield message
        return
    results = [part for part in content if _is(part, "tool_result")]
    calls = [part for part in content if _is(part, "tool_use")]
    thoughts = [part for part in content if isinstance(part, dict) and part.get("type") in _THOUGHTS]
    rest = [part for part in content if part not in (*results, *calls, *thoughts)]
    for result in results:
        yield {"role": "tool", "tool_call_id": result["tool_use_id"], "content": result.get("content", "")}
    if rest or calls or not results:
        yield {**message, "content": rest, **_called(message, calls), **_thought(message, thoughts)}


def _is_folded(part: object) -> bool:
    return _is(part, "tool_use") or _is(part, "tool_result")


def _is(part: object, kind: str) -> bool:
    return isinstance(part, dict) and part.get("type") == kind and isinstance(part.get(_IDENTIFIED[kind]), str)


def _called(message: Mapping[str, Any], parts: list[dict[str, Any]]) -> dict[str, Any]:
    calls = [{"id": part.get("id", ""), "name": part["name"], "arguments": part.get("input", {})} for part in parts]
    return {"tool_calls": [*message.get("tool_calls", ()), *calls]} if calls else {}


def _thought(message: Mapping[str, Any], parts: list[dict[str, Any]]) -> dict[str, Any]:
    """As Anthropic wants it back, and as text for the others."""
    text = "".join(part["thinking"] for part in parts if isinstance(part.get("thinking"), str))
    return {"thinking_blocks": parts, "reasoning": message.get("reasoning", text)} if parts else {}

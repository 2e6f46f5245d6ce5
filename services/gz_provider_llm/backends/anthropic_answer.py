"""An answer on Anthropic's wire, put together of its events. No I/O."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct, field
from msgspec.structs import replace

from gz_provider_llm.errors import Refused
from gz_provider_llm.shapes.requests import ToolCall, tool_arguments
from gz_provider_llm.shapes.results import ChatResult, Usage, count_of, sum_of, text_of

_FINISH: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_THOUGHT: Final = "thinking_tokens"
_THOUGHTS: Final = frozenset({"thinking", "redacted_thinking"})


class _Block(Struct):
    """One block of an answer; `json` are the pieces of a tool's input."""

    kind: str
    id: str = ""
    name: str = ""
    texts: list[str] = field(default_factory=list)
    json: str = ""
    input: Any = None
    signature: str = ""
    data: str = ""
    given: Mapping[str, Any] = {}
    """As it began."""

    def as_content(self) -> dict[str, Any]:
        """All of it, as it has to stand in the request that goes on."""
        match self.kind:
            case "thinking" | "redacted_thinking":
                return self.to_return()
            case "text":
                return {"type": "text", "text": "".join(self.texts)}
        return {**self.given, "input": self.arguments} if self.json else dict(self.given)

    @property
    def arguments(self) -> Any:
        return tool_arguments(self.json) if self.json else self.input or {}

    def to_return(self) -> dict[str, Any]:
        """A thought, as it has to stand in the next request: with its signature, or hidden as it came."""
        if self.kind == "redacted_thinking":
            return {"type": self.kind, "data": self.data}
        return {"type": self.kind, "thinking": "".join(self.texts), "signature": self.signature}


class Answer(Struct):
    """An answer that grows by events, or is taken at once."""

    model: str
    complete: bool = False
    stop_reason: str = ""
    explanation: str = ""
    """Why it declined to answer."""
    blocks: dict[int, _Block] = field(default_factory=dict)
    usage: dict[str, int] | None = None
    container: str = ""
    """In which the server runs code."""

    @property
    def paused(self) -> bool:
        """Whether it goes on when its server is given what there is of it."""
        return self.stop_reason == "pause_turn"

    def as_message(self) -> dict[str, Any]:
        said = [block for block in self.blocks.values() if block.kind != "text" or "".join(block.texts).strip()]
        return {"role": "assistant", "content": [block.as_content() for block in said]}

    def workplace(self) -> dict[str, str]:
        """What a request that goes on says beside the messages."""
        return {"container": self.container} if self.container else {}

    def add(self, event: Mapping[str, Any]) -> str:
        """Returns the text that it brought. Kinds of events that are not known are passed over, as the API demands."""
        match event:
            case {"type": "message", "content": list()}:  # of a server that does not stream
                return self.take(event)
            case {"type": "message_start", "message": dict(message)}:
                self._begin(message)
            case {"type": "content_block_start", "index": int(at), "content_block": dict(block)}:
                return self._block(at, block)
            case {"type": "content_block_delta", "index": int(at), "delta": dict(delta)}:
                return self._delta(at, delta)
            case {"type": "message_delta", "delta": dict(delta)}:
                self._stopped(delta)
                self._count(event.get("usage"))
            case {"type": "message_stop"}:
                self.complete = True
        return ""

    def take(self, message: Mapping[str, Any]) -> str:
        """All of it at once. Returns its text."""
        self._begin(message)
        self._stopped(message)
        texts = [self._block(at, block) for at, block in enumerate(message["content"])]
        self.complete = True
        return "".join(texts)

    def _stopped(self, said: Mapping[str, Any]) -> None:
        self.stop_reason = text_of(said.get("stop_reason"), self.stop_reason)
        if isinstance(details := said.get("stop_details"), dict):
            self.explanation = text_of(details.get("explanation"))
        if isinstance(container := said.get("container"), dict):
            self.container = text_of(container.get("id"), self.container)

    def _begin(self, message: Mapping[str, Any]) -> None:
        self.model = text_of(message.get("model"), self.model)
        self._count(message.get("usage"))

    def _count(self, usage: Any) -> None:
        if isinstance(usage, dict):
            self.usage = (self.usage or {}) | {name: count_of(n) for name, n in usage.items() if n is not None}
            if isinstance(details := usage.get("output_tokens_details"), dict):
                self.usage[_THOUGHT] = count_of(details.get(_THOUGHT))

    def _block(self, at: int, given: Mapping[str, Any]) -> str:
        kind, number, name = (text_of(given.get(member)) for member in ("type", "id", "name"))
        block = _Block(kind, number, name, input=given.get("input"), given=given)
        block.signature, block.data = text_of(given.get("signature")), text_of(given.get("data"))
        self.blocks[at] = block
        text = given.get("text") or given.get("thinking") or ""
        if not isinstance(text, str):
            raise TypeError("the text of a block is no text")
        if text:
            block.texts.append(text)
        return text if block.kind == "text" else ""

    def _delta(self, at: int, delta: Mapping[str, Any]) -> str:
        block = self.blocks.setdefault(at, _Block("text"))
        match delta:
            case {"type": "text_delta", "text": str(text)}:
                block.texts.append(text)
                return text
            case {"type": "thinking_delta", "thinking": str(text)}:
                block.texts.append(text)
            case {"type": "signature_delta", "signature": str(signature)}:
                block.signature = signature
            case {"type": "input_json_delta", "partial_json": str(piece)}:
                block.json += piece
        return ""

    def result(self, warnings: tuple[str, ...] = ()) -> ChatResult:
        content = self._texts("text")
        calls = tuple(
            ToolCall(block.id, block.name, block.arguments)
            for block in self.blocks.values()
            if block.kind == "tool_use"
        )
        if self.stop_reason == "refusal" and not content:
            raise Refused("the model declined to answer" + (f": {self.explanation}" if self.explanation else ""))
        return ChatResult(
            content=content,
            model=self.model,
            finish_reason=_FINISH.get(self.stop_reason, self.stop_reason) or "stop",
            usage=_usage(self.usage),
            reasoning=self._texts("thinking"),
            tool_calls=calls,
            thinking_blocks=tuple(block.to_return() for block in self.blocks.values() if block.kind in _THOUGHTS),
            warnings=warnings,
        )

    def _texts(self, kind: str) -> str:
        return "".join(text for block in self.blocks.values() if block.kind == kind for text in block.texts)


def joined(parts: Sequence[ChatResult]) -> ChatResult:
    """Of an answer that its server gave in several turns."""
    if len(parts) == 1:
        return parts[0]
    return replace(
        parts[-1],
        content="".join(part.content for part in parts),
        reasoning="\n\n".join(filter(None, (part.reasoning for part in parts))),
        usage=sum_of([part.usage for part in parts]),
    )


def _usage(usage: Mapping[str, int] | None) -> Usage | None:
    """Anthropic counts what it read from its cache apart; we count it among the input, as others do."""
    if usage is None:
        return None
    cached = usage.get("cache_read_input_tokens", 0)
    written = usage.get("cache_creation_input_tokens", 0)
    read = usage.get("input_tokens", 0) + cached + written
    return Usage(read, usage.get("output_tokens", 0), usage.get(_THOUGHT, 0), cached)

"""An answer on OpenAI's wire, put together of its pieces. No I/O."""

from base64 import b64decode
from collections.abc import Mapping
from struct import iter_unpack
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from gz_provider_llm.backends.thoughts import Thoughts, ended
from gz_provider_llm.errors import Refused
from gz_provider_llm.shapes.requests import ToolCall, tool_arguments
from gz_provider_llm.shapes.results import ChatResult, Usage, count_of, is_number, text_of, vector_of

_FINISH: Final = {
    "function_call": "tool_calls",
    "tool_use": "tool_calls",
    "model_length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "eos": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "complete": "stop",
    "safety": "content_filter",
    "sensitive": "content_filter",
}
"""In the words of Mistral, Together, Cohere, Google, Zhipu and those who translate from other APIs."""
_THOUGHT: Final = ("reasoning_content", "reasoning", "thinking")
BROKEN_OFF: Final = frozenset({"error", "abort", "network_error", "insufficient_system_resource"})
"""The server's word for an answer that it could not end."""


class Answer(Struct):
    """An answer that grows: by chunks of a stream, or by one object that is all of it. `raw`: its text is
    left as it is, with the tags around what the model thinks."""

    model: str
    raw: bool = False
    begun: bool = False
    """Whether there was anything of an answer."""
    finish_reason: str = ""
    texts: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    calls: list["PartialCall"] = field(default_factory=list)
    growing: dict[int, "PartialCall"] = field(default_factory=dict)
    """The calls to which pieces still come, by their index."""
    usage: Usage | None = None
    timings_ms: dict[str, float] = field(default_factory=dict)
    logprobs: list[Any] = field(default_factory=list)
    thoughts: Thoughts = field(default_factory=Thoughts)

    def add(self, chunk: Mapping[str, Any]) -> str:
        """Returns the text that it brought."""
        self.model = text_of(chunk.get("model"), self.model)
        self.usage = usage_of(chunk.get("usage") or _of_groq(chunk)) or self.usage
        if isinstance(chunk.get("timings"), dict):
            self.timings_ms = _timings(chunk["timings"])
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices:
            return ""
        self.begun = True
        # Of several answers, which options can ask for, we take the first.
        choice = next((choice for choice in choices if not choice.get("index")), None)
        if choice is None:
            return ""
        self.finish_reason = self._finish(choice.get("finish_reason")) or self.finish_reason
        part = choice.get("delta") or choice.get("message") or {}
        match choice.get("logprobs"):
            case {"content": list(tokens)}:
                self.logprobs += tokens
        said, thought = _said(part.get("content") or choice.get("text"))
        if said and not self.raw:
            said, tagged = self.thoughts.feed(said)
            thought += tagged
        for pieces, piece in (
            (self.texts, said),
            (self.reasoning, thought or next((part[name] for name in _THOUGHT if part.get(name)), "")),
            (self.refusal, part.get("refusal")),
        ):
            if isinstance(piece, str) and piece:
                pieces.append(piece)
        for call in part.get("tool_calls") or ():
            self._call(call)
        if part.get("function_call"):  # what calls of tools were before there could be several
            self._call({"function": part["function_call"]})
        return said

    @staticmethod
    def _finish(said: Any) -> str:
        word = text_of(said).lower()
        return _FINISH.get(word, word)

    def end(self) -> str:
        """The text that was held back until nothing more could come."""
        rest = self.thoughts.end()
        (self.reasoning if self.thoughts.open else self.texts).append(rest)
        return "" if self.thoughts.open else rest

    def _call(self, piece: Mapping[str, Any]) -> None:
        """With another id and name it is a call of its own: Google's server gives each of them the index 0. Without an
        index it goes on with the last one, or is the next."""
        index = piece.get("index")
        last = self.calls[-1] if self.calls else None
        call = last if index is None else self.growing.get(index)
        if call is None or call.is_not(piece):
            call = PartialCall(len(self.calls) if index is None else index)
            self.calls.append(call)
        self.growing[len(self.calls) - 1 if index is None else index] = call
        call.add(piece)

    def result(self, warnings: tuple[str, ...] = ()) -> ChatResult:
        self.end()
        content, thought = "".join(self.texts), "".join(self.reasoning)
        if not (self.raw or thought):
            content, thought = ended(content)
        if not content and not self.calls and (self.refusal or self.finish_reason == "content_filter"):
            raise Refused("".join(self.refusal) or "the answer was held back by a content filter")
        finish_reason = self.finish_reason or "stop"
        return ChatResult(
            content=content,
            model=self.model,
            # OpenAI says stop where a tool had to be called.
            finish_reason="tool_calls" if self.calls and finish_reason == "stop" else finish_reason,
            usage=self.usage,
            reasoning=thought,
            tool_calls=tuple(call.whole(at) for at, call in enumerate(sorted(self.calls, key=_place))),
            timings_ms=self.timings_ms,
            logprobs=self.logprobs,
            warnings=warnings,
        )


class PartialCall(Struct):
    """A tool call whose name and arguments come in pieces. `place` is that among the calls of its answer."""

    place: int = 0
    id: str = ""
    name: str = ""
    arguments: str = ""

    def is_not(self, piece: Mapping[str, Any]) -> bool:
        """Whether this is the beginning of another one; where there are no ids, it is so after a whole one."""
        number, function = piece.get("id"), piece.get("function") or {}
        if not (self.name and function.get("name")):
            return False
        if self.id and number:
            return bool(number != self.id)
        whole = bool(self.arguments) and isinstance(tool_arguments(self.arguments), dict)
        return function["name"] != self.name or (whole and bool(function.get("arguments")))

    def add(self, piece: Mapping[str, Any]) -> None:
        function = piece.get("function") or {}
        self.id = text_of(piece.get("id"), self.id)
        self.name = self.name or text_of(function.get("name"))
        arguments = function.get("arguments")
        if arguments is not None:
            # Some compatible servers send an object where OpenAI sends its text.
            self.arguments += arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()

    def whole(self, at: int) -> ToolCall:
        return ToolCall(self.id or f"call_{at}", self.name, tool_arguments(self.arguments))


def _place(call: PartialCall) -> int:
    return call.place if isinstance(call.place, int) else 0


def vector(embedding: Any) -> list[float]:
    """Numbers, or in base64 the bytes of 32-bit ones, for those who asked for that."""
    if isinstance(embedding, str):
        content = b64decode(embedding)
        if not content or len(content) % 4:
            raise ValueError("these are no 32-bit numbers")
        return [number for (number,) in iter_unpack("<f", content)]
    return vector_of(embedding)


def _said(content: Any) -> tuple[str, str]:
    """The text, and what was thought: Mistral has both as parts of one content."""
    if not isinstance(content, list):
        return content if isinstance(content, str) else "", ""
    texts = [part["text"] for part in content if part.get("type") == "text"]
    return "".join(texts), "".join(_thought(part.get("thinking") or "") for part in content)


def _thought(given: Any) -> str:
    return given if isinstance(given, str) else "".join(piece.get("text") or "" for piece in given)


def _of_groq(chunk: Mapping[str, Any]) -> Any:
    """The usage, which it tells in a place of its own."""
    own = chunk.get("x_groq")
    return own.get("usage") if isinstance(own, dict) else None


def usage_of(usage: Any) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    written, read = usage.get("completion_tokens_details"), usage.get("prompt_tokens_details")
    return Usage(
        count_of(usage.get("prompt_tokens")),
        count_of(usage.get("completion_tokens")),
        count_of(written.get("reasoning_tokens")) if isinstance(written, dict) else 0,
        count_of(read.get("cached_tokens")) if isinstance(read, dict) else 0,
    )


def _timings(timings: Mapping[str, Any]) -> dict[str, float]:
    """llama.cpp's own."""
    names = {"prompt_ms": "prompt", "predicted_ms": "generate"}
    return {ours: timings[theirs] for theirs, ours in names.items() if is_number(timings.get(theirs))}

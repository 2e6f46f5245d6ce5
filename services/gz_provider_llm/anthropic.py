"""Anthropic's Messages API, and what else speaks it."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from msgspec import Struct, field

from gz_provider_llm.backend import OnDelta
from gz_provider_llm.errors import BadRequest, Refused
from gz_provider_llm.http import Http
from gz_provider_llm.requests import ChatRequest, EmbedRequest, Message, ToolCall, tool_arguments
from gz_provider_llm.results import ChatResult, EmbedResult, ModelInfo, Usage
from gz_provider_llm.structured import instruction

ANTHROPIC_URL = "https://api.anthropic.com"
ANTHROPIC_VERSION = "2023-06-01"
MAX_TOKENS = 4096  # the API demands a number where others do without
CAPACITY = 8

_FINISH: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_EFFORT: Final = {"minimal": "low"}


class Anthropic:
    """Structured output is asked for in words, and by `output_config` of those models that have not refused it yet."""

    name = "anthropic"
    options: frozenset[str] = frozenset()
    ignored = frozenset(
        {"seed", "repeat_penalty", "num_ctx", "presence_penalty", "frequency_penalty", "load_balancing_strategy"}
    )

    def __init__(self, http: Http, *, capacity: int = CAPACITY) -> None:
        self._http = http
        self._capacity = capacity
        self._without_format: set[str] = set()

    @property
    def capacity(self) -> int:
        return self._capacity

    async def chat(self, request: ChatRequest, on_delta: OnDelta) -> ChatResult:
        if request.raw:
            raise BadRequest("anthropic has no raw completions: leave `raw` out")
        with_format = request.json_schema is not None and request.model not in self._without_format
        try:
            return await self._ask(request, on_delta, with_format=with_format)
        except BadRequest as error:
            if not with_format or not any(
                word in error.message for word in ("output_config", "output_format", "schema")
            ):
                raise
        self._without_format.add(request.model)
        return await self._ask(request, on_delta, with_format=False)

    async def _ask(self, request: ChatRequest, on_delta: OnDelta, *, with_format: bool) -> ChatResult:
        body = chat_body(request, with_format=with_format)
        answer = _Answer(request.model)
        if not request.stream:
            message = self._checked(await self._http.post_json("/v1/messages", body))
            with self._http.reading("a message"):
                answer.take(message)
            return answer.result()
        async with self._http.events("/v1/messages", body) as events:
            async for event in events:
                data = self._checked(self._http.decode(event.data))
                with self._http.reading("events of a message"):
                    delta = answer.add(data)
                if delta:
                    on_delta(delta)
                if answer.complete:
                    break
        if not answer.complete:
            raise self._http.cut()
        return answer.result()

    def _checked(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict) or data.get("type") == "error":
            raise self._http.error_in_stream(data)
        return data

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        raise BadRequest("anthropic has no embeddings: use another provider for this task")

    async def models(self) -> list[ModelInfo]:
        answer = await self._http.get_json("/v1/models?limit=1000")
        match answer:
            case {"data": list(data)}:
                return [
                    ModelInfo(name=str(one["id"]), context_tokens=one.get("max_input_tokens"))
                    for one in data
                    if isinstance(one, dict) and "id" in one
                ]
        raise self._http.nonsense("a list of models")

    async def close(self) -> None:
        await self._http.close()


def chat_body(request: ChatRequest, *, with_format: bool) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": request.model,
        "max_tokens": request.max_tokens or MAX_TOKENS,
        "messages": _turns([message for message in request.messages if message.role != "system"]),
    }
    system = [message.content for message in request.messages if message.role == "system"]
    if request.json:
        system.append(instruction(request.json_schema))
    if system:
        body["system"] = "\n\n".join(system)
    for name in ("temperature", "top_p", "top_k"):
        if (value := getattr(request, name)) is not None:
            body[name] = value
    if request.stop:
        body["stop_sequences"] = list(request.stop)
    if request.stream:
        body["stream"] = True
    return body | _tools(request) | _output(request, with_format=with_format) | request.options


def _tools(request: ChatRequest) -> dict[str, Any]:
    if not request.tools:
        return {}
    parts: dict[str, Any] = {
        "tools": [
            {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
            for tool in request.tools
        ]
    }
    if request.tool_name:
        parts["tool_choice"] = {"type": "tool", "name": request.tool_name}
    elif request.tool_choice:
        parts["tool_choice"] = {"type": "any" if request.tool_choice == "required" else request.tool_choice}
    return parts


def _output(request: ChatRequest, *, with_format: bool) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    output_config: dict[str, Any] = {}
    if request.reasoning_effort == "none":
        parts["thinking"] = {"type": "disabled"}
    elif request.reasoning_effort:
        parts["thinking"] = {"type": "adaptive"}
        output_config["effort"] = _EFFORT.get(request.reasoning_effort, request.reasoning_effort)
    if with_format:
        output_config["format"] = {"type": "json_schema", "schema": request.json_schema}
    return parts | ({"output_config": output_config} if output_config else {})


def _turns(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The API wants user and assistant in turn; results of tools are the user's."""
    return [
        {"role": role, "content": [block for message in turn for block in _blocks(message)]}
        for role, turn in groupby(messages, lambda message: "assistant" if message.role == "assistant" else "user")
    ]


def _blocks(message: Message) -> list[dict[str, Any]]:
    if message.role == "tool":
        return [{"type": "tool_result", "tool_use_id": message.tool_call_id, "content": message.content}]
    blocks: list[dict[str, Any]] = [
        {"type": "image", "source": {"type": "base64", "media_type": image.media_type, "data": image.data_base64}}
        for image in message.images
    ]
    if message.content:
        blocks.append({"type": "text", "text": message.content})
    for call in message.tool_calls:
        given = call.arguments if isinstance(call.arguments, dict) else {}
        blocks.append({"type": "tool_use", "id": call.id, "name": call.name, "input": given})
    return blocks


class _Block(Struct):
    """One block of an answer; `json` are the pieces of a tool's input."""

    kind: str
    id: str = ""
    name: str = ""
    texts: list[str] = field(default_factory=list)
    json: str = ""
    input: Any = None


class _Answer(Struct):
    """An answer that grows by events, or is taken at once."""

    model: str
    complete: bool = False
    stop_reason: str = ""
    blocks: dict[int, _Block] = field(default_factory=dict)
    usage: dict[str, int] | None = None

    def add(self, event: Mapping[str, Any]) -> str:
        """Returns the text that it brought. Kinds of events that are not known are passed over, as the API demands."""
        match event:
            case {"type": "message_start", "message": dict(message)}:
                self._begin(message)
            case {"type": "content_block_start", "index": int(at), "content_block": dict(block)}:
                return self._block(at, block)
            case {"type": "content_block_delta", "index": int(at), "delta": dict(delta)}:
                return self._delta(at, delta)
            case {"type": "message_delta", "delta": dict(delta)}:
                self.stop_reason = delta.get("stop_reason") or self.stop_reason
                self._count(event.get("usage"))
            case {"type": "message_stop"}:
                self.complete = True
        return ""

    def take(self, message: Mapping[str, Any]) -> None:
        """All of it at once."""
        self._begin(message)
        self.stop_reason = message.get("stop_reason") or ""
        for at, block in enumerate(message["content"]):
            self._block(at, block)
        self.complete = True

    def _begin(self, message: Mapping[str, Any]) -> None:
        self.model = message.get("model") or self.model
        self._count(message.get("usage"))

    def _count(self, usage: Any) -> None:
        if isinstance(usage, dict):
            self.usage = (self.usage or {}) | {name: n for name, n in usage.items() if isinstance(n, int)}

    def _block(self, at: int, given: Mapping[str, Any]) -> str:
        block = _Block(given.get("type", ""), given.get("id", ""), given.get("name", ""), input=given.get("input"))
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
            case {"type": "input_json_delta", "partial_json": str(piece)}:
                block.json += piece
        return ""

    def result(self) -> ChatResult:
        content = self._texts("text")
        calls = tuple(
            ToolCall(block.id, block.name, tool_arguments(block.json) if block.json else block.input or {})
            for block in self.blocks.values()
            if block.kind == "tool_use"
        )
        if self.stop_reason == "refusal" and not content:
            raise Refused("the model declined to answer")
        return ChatResult(
            content=content,
            model=self.model,
            finish_reason=_FINISH.get(self.stop_reason, self.stop_reason) or "stop",
            usage=_usage(self.usage),
            reasoning=self._texts("thinking"),
            tool_calls=calls,
        )

    def _texts(self, kind: str) -> str:
        return "".join(text for block in self.blocks.values() if block.kind == kind for text in block.texts)


def _usage(usage: Mapping[str, int] | None) -> Usage | None:
    """Anthropic counts what it read from its cache apart; we count it among the input, as others do."""
    if usage is None:
        return None
    cached = usage.get("cache_read_input_tokens", 0)
    written = usage.get("cache_creation_input_tokens", 0)
    return Usage(usage.get("input_tokens", 0) + cached + written, usage.get("output_tokens", 0), cached_tokens=cached)

"""OpenAI's API, as OpenAI and every compatible server speak it: chat and text completions, embeddings, models."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from gleitzeit.errors import GleitzeitError
from gz_provider_llm.backend import OnDelta
from gz_provider_llm.errors import BadRequest, Refused
from gz_provider_llm.http import Http
from gz_provider_llm.known_options import COMPATIBLE
from gz_provider_llm.requests import ChatRequest, EmbedRequest, Message, ToolCall, tool_arguments
from gz_provider_llm.results import ChatResult, EmbedResult, ModelInfo, Usage

OPENAI_URL = "https://api.openai.com/v1"
CAPACITY = 16
PROBE_SECONDS = 2.0

_SAMPLING: Final = ("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty")
# What OpenAI itself refuses, and the servers of local models all know.
_LOCAL_ONLY: Final = ("top_k", "repeat_penalty")
_NOWHERE: Final = frozenset({"num_ctx", "load_balancing_strategy"})


class OpenAI:
    """`is_openai`: the server is OpenAI's own, which has other names for some things than the compatible ones.

    `capacity` None: as many calls at once as the server says that it takes (llama.cpp does), else CAPACITY.
    """

    def __init__(self, http: Http, *, is_openai: bool, capacity: int | None = None, name: str = "openai") -> None:
        self.name = name
        self.options = frozenset() if is_openai else COMPATIBLE
        self.ignored = _NOWHERE | frozenset(_LOCAL_ONLY) if is_openai else _NOWHERE
        self._http = http
        self._capacity = capacity
        self._slots: int | None = None
        self._root = http.url.removesuffix("/v1")
        self._is_openai = is_openai
        if not is_openai:
            http.works_on = self._works
        self._max_tokens = "max_completion_tokens" if is_openai else "max_tokens"

    @property
    def capacity(self) -> int:
        return self._capacity or self._slots or CAPACITY

    async def follow(self) -> None:
        if self._is_openai or self._capacity is not None:
            return
        match await self._asked("/props"):
            case {"total_slots": int(slots)} if slots > 0:
                self._slots = slots

    async def _works(self) -> bool:
        """Whether a server that has been silent computes, for us or for those before us.

        llama.cpp sends nothing, not even headers, to a request that waits for a slot. Of its slots it tells between two
        steps of its computation, so that one that is stuck does not say that it is busy.
        """
        slots = await self._asked("/slots")
        return isinstance(slots, list) and any(isinstance(slot, dict) and slot.get("is_processing") for slot in slots)

    async def _asked(self, path: str) -> Any:
        """What llama.cpp tells about itself; None of servers that know no such path."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                return await self._http.get_json(path, base=self._root)
        except (GleitzeitError, TimeoutError):
            return None

    async def chat(self, request: ChatRequest, on_delta: OnDelta) -> ChatResult:
        path = "/completions" if request.raw else "/chat/completions"
        body = self.raw_body(request) if request.raw else self.chat_body(request)
        answer = Answer(request.model)
        if request.stream:
            await self._stream(path, body, answer, on_delta)
        else:
            whole = self._checked(await self._http.post_json(path, body))
            if not whole.get("choices"):
                raise self._http.nonsense("a completion")
            self._add(answer, whole)
        return answer.result()

    async def _stream(self, path: str, body: object, answer: "Answer", on_delta: OnDelta) -> None:
        done = False
        async with self._http.events(path, body) as events:
            async for event in events:
                if event.data == "[DONE]":
                    done = True
                    break
                if event.name == "error":
                    raise self._http.error_in_stream(self._http.decode(event.data))
                delta = self._add(answer, self._checked(self._http.decode(event.data)))
                if delta:
                    on_delta(delta)
        if not done and not answer.finish_reason:
            raise self._http.cut()

    def _checked(self, chunk: Any) -> dict[str, Any]:
        if not isinstance(chunk, dict) or chunk.get("error"):
            raise self._http.error_in_stream(chunk)
        return chunk

    def _add(self, answer: "Answer", chunk: dict[str, Any]) -> str:
        with self._http.reading("a completion"):
            return answer.add(chunk)

    def chat_body(self, request: ChatRequest) -> dict[str, Any]:
        body = self._common(request) | {"messages": [_message(message) for message in request.messages]}
        if request.tools:
            body["tools"] = [{"type": "function", "function": msgspec.to_builtins(tool)} for tool in request.tools]
        if request.tool_name:
            body["tool_choice"] = {"type": "function", "function": {"name": request.tool_name}}
        elif request.tool_choice:
            body["tool_choice"] = request.tool_choice
        if request.json:
            body["response_format"] = _response_format(request)
        if request.reasoning_effort:
            body["reasoning_effort"] = request.reasoning_effort
        return body | request.options

    def raw_body(self, request: ChatRequest) -> dict[str, Any]:
        if len(request.messages) != 1:
            raise BadRequest("raw takes one prompt, without system or other messages")
        body = self._common(request) | {"prompt": request.messages[0].content}
        if request.max_tokens is not None:
            body["max_tokens"] = request.max_tokens  # in this older method also with OpenAI
            body.pop("max_completion_tokens", None)
        return body | request.options

    def _common(self, request: ChatRequest) -> dict[str, Any]:
        names = [name for name in (*_SAMPLING, *_LOCAL_ONLY) if name not in self.ignored]
        body = {name: value for name in names if (value := getattr(request, name)) is not None}
        body["model"] = request.model
        if request.max_tokens is not None:
            body[self._max_tokens] = request.max_tokens
        if request.stop:
            body["stop"] = list(request.stop)
        if request.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        body: dict[str, Any] = {"model": request.model, "input": list(request.inputs)}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        answer = await self._http.post_json("/embeddings", body | request.options)
        with self._http.reading("embeddings for each input"):
            data = sorted(answer["data"], key=lambda one: one.get("index", 0))
            vectors = [one["embedding"] for one in data]
        if len(vectors) != len(request.inputs):
            raise self._http.nonsense("embeddings for each input")
        return EmbedResult(
            embeddings=vectors, model=answer.get("model") or request.model, usage=_usage(answer.get("usage"))
        )

    async def models(self) -> list[ModelInfo]:
        answer = await self._http.get_json("/models")
        match answer:
            case {"data": list(data)}:
                return [_model(one) for one in data if isinstance(one, dict) and "id" in one]
        raise self._http.nonsense("a list of models")

    async def close(self) -> None:
        await self._http.close()


class Answer(Struct):
    """An answer that grows: by chunks of a stream, or by one object that is all of it."""

    model: str
    finish_reason: str = ""
    texts: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    calls: dict[int, "PartialCall"] = field(default_factory=dict)
    usage: Usage | None = None
    timings_ms: dict[str, float] = field(default_factory=dict)

    def add(self, chunk: Mapping[str, Any]) -> str:
        """Returns the text that it brought."""
        self.model = chunk.get("model") or self.model
        self.usage = _usage(chunk.get("usage")) or self.usage
        if isinstance(chunk.get("timings"), dict):
            self.timings_ms = _timings(chunk["timings"])
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices:
            return ""
        choice = choices[0]
        self.finish_reason = choice.get("finish_reason") or self.finish_reason
        part = choice.get("delta") or choice.get("message") or {}
        text = part.get("content") or choice.get("text") or ""
        for pieces, piece in (
            (self.texts, text),
            (self.reasoning, part.get("reasoning_content") or part.get("reasoning")),
            (self.refusal, part.get("refusal")),
        ):
            if isinstance(piece, str) and piece:
                pieces.append(piece)
        for at, call in enumerate(part.get("tool_calls") or ()):
            self.calls.setdefault(call.get("index", at), PartialCall()).add(call)
        return text if isinstance(text, str) else ""

    def result(self) -> ChatResult:
        content = "".join(self.texts)
        if not content and not self.calls and (self.refusal or self.finish_reason == "content_filter"):
            raise Refused("".join(self.refusal) or "the answer was held back by a content filter")
        finish_reason = "tool_calls" if self.finish_reason == "function_call" else self.finish_reason
        return ChatResult(
            content=content,
            model=self.model,
            finish_reason=finish_reason or "stop",
            usage=self.usage,
            reasoning="".join(self.reasoning),
            tool_calls=tuple(call.whole(at) for at, call in sorted(self.calls.items())),
            timings_ms=self.timings_ms,
        )


class PartialCall(Struct):
    """A tool call whose name and arguments come in pieces."""

    id: str = ""
    name: str = ""
    arguments: str = ""

    def add(self, piece: Mapping[str, Any]) -> None:
        function = piece.get("function") or {}
        self.id = piece.get("id") or self.id
        self.name = self.name or function.get("name") or ""
        arguments = function.get("arguments")
        if arguments is not None:
            # Some compatible servers send an object where OpenAI sends its text.
            self.arguments += arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()

    def whole(self, at: int) -> ToolCall:
        return ToolCall(self.id or f"call_{at}", self.name, tool_arguments(self.arguments))


def _message(message: Message) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.images:
        images = [{"type": "image_url", "image_url": {"url": image.data_url}} for image in message.images]
        texts = [{"type": "text", "text": message.content}] if message.content else []
        wire["content"] = [*texts, *images]
    if message.tool_calls:
        wire["tool_calls"] = [_tool_call(call) for call in message.tool_calls]
        wire["content"] = message.content or None
    if message.role == "tool":
        wire["tool_call_id"] = message.tool_call_id
    elif message.name:
        wire["name"] = message.name
    return wire


def _tool_call(call: ToolCall) -> dict[str, Any]:
    given = call.arguments
    arguments = given if isinstance(given, str) else msgspec.json.encode(given).decode()
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _response_format(request: ChatRequest) -> dict[str, Any]:
    if request.json_schema is None:
        return {"type": "json_object"}
    described: dict[str, Any] = {"name": "answer", "schema": request.json_schema}
    if request.json_strict:
        described["strict"] = True
    return {"type": "json_schema", "json_schema": described}


def _usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    return Usage(
        usage.get("prompt_tokens") or 0,
        usage.get("completion_tokens") or 0,
        (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0,
        (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
    )


def _timings(timings: Mapping[str, Any]) -> dict[str, float]:
    """llama.cpp's own."""
    names = {"prompt_ms": "prompt", "predicted_ms": "generate"}
    return {ours: timings[theirs] for theirs, ours in names.items() if isinstance(timings.get(theirs), int | float)}


def _model(described: Mapping[str, Any]) -> ModelInfo:
    meta = described.get("meta") or {}
    return ModelInfo(
        name=str(described["id"]),
        size_bytes=meta.get("size"),
        context_tokens=described.get("max_model_len") or described.get("context_length") or meta.get("n_ctx_train"),
    )

"""OpenAI's API, as OpenAI and every compatible server speak it: chat and text completions, embeddings, models."""

import asyncio
import re
from base64 import b64encode
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from gleitzeit.errors import GleitzeitError
from gz_provider_llm.backends.backend import OnDelta
from gz_provider_llm.backends.known_options import COMPATIBLE
from gz_provider_llm.backends.lessons import (
    SAMPLING,
    Lessons,
    joined,
    left_out,
    needs_joining,
    refused_one,
    without_system,
)
from gz_provider_llm.backends.openai_answer import BROKEN_OFF, Answer, usage_of, vector
from gz_provider_llm.errors import BadRequest, StreamCut
from gz_provider_llm.shapes.files import Image
from gz_provider_llm.shapes.requests import ChatRequest, EmbedRequest, Message, Tool, ToolCall
from gz_provider_llm.shapes.results import ChatResult, EmbedResult, ModelInfo, count_of, text_of
from gz_provider_llm.shapes.structured import NO_GRAMMAR, in_words, in_words_where_needed, is_of_objects
from gz_provider_llm.transport.fetching import fetched_pdf
from gz_provider_llm.transport.http import Http

OPENAI_URL = "https://api.openai.com/v1"
CAPACITY = 16
PROBE_SECONDS = 2.0
MOST_INPUTS, MOST_CHARACTERS = 2048, 300_000
"""Of one request for embeddings: OpenAI takes so many, and 300,000 tokens; a token has at least one character, most of
the time."""

_SAMPLING: Final = ("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty")
# What OpenAI itself refuses, and the servers of local models all know.
_LOCAL_ONLY: Final = ("top_k", "repeat_penalty")
_NOWHERE: Final = frozenset({"num_ctx", "load_balancing_strategy"})
# What an answer may be had without, where a model does not take it.
_DROPPED: Final = (*SAMPLING, "reasoning_effort")
_SAYS_EFFORT: Final = re.compile(r"reasoning[_.]?effort")
_NO_SYSTEM: Final = re.compile(r"system role|roles are supported|role' does not support 'system'")
_IN_TURN: Final = "roles must alternate"
_SAYS_FORMAT: Final = re.compile(r"response_format|response format|json_schema|json_object")


class OpenAI:
    """`is_openai`: the server is OpenAI's own, which has other names for some things than the compatible ones.

    `capacity` None: as many calls at once as the server says that it takes (llama.cpp does), else CAPACITY.
    """

    def __init__(
        self,
        http: Http,
        *,
        is_openai: bool,
        capacity: int | None = None,
        name: str = "openai",
        fetch: Callable[[str], Awaitable[bytes]] = fetched_pdf,
    ) -> None:
        self.name = name
        self._fetch = fetch
        self.options = frozenset() if is_openai else COMPATIBLE
        self.ignored = _NOWHERE | frozenset(_LOCAL_ONLY) if is_openai else _NOWHERE
        self._http = http
        self._capacity = capacity
        self._slots: int | None = None
        self._root = http.url.removesuffix("/v1")
        self._is_openai = is_openai
        if not is_openai:
            http.works_on = self._works
        self._lessons = Lessons()

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
        request = await self._with_documents(request)

        async def ask(request: ChatRequest) -> ChatResult:
            return await self._lessons.asking(request, partial(self._ask, request, on_delta), partial(_lesson, request))

        return await in_words_where_needed(request, ask)

    async def _with_documents(self, request: ChatRequest) -> ChatRequest:
        """A PDF that is somewhere in the web is brought along: this API takes their contents only."""
        images = (image for message in request.messages for image in message.images)
        urls = dict.fromkeys(image.url for image in images if image.is_pdf and image.url)
        if not urls:
            return request
        contents = {url: Image("application/pdf", b64encode(await self._fetch(url)).decode()) for url in urls}
        messages = (
            replace(message, images=tuple(contents.get(image.url, image) for image in message.images))
            for message in request.messages
        )
        return replace(request, messages=tuple(messages))

    async def _ask(self, request: ChatRequest, on_delta: OnDelta, lessons: frozenset[str]) -> ChatResult:
        path = "/completions" if request.raw else "/chat/completions"
        body = self.raw_body(request, lessons) if request.raw else self.chat_body(request, lessons)
        answer = Answer(request.model, raw=request.raw)
        if request.stream:
            await self._stream(path, body, answer, on_delta, patient=self._may_be_silent(request))
        else:
            self._add(answer, self._http.server.checked(await self._http.post_json(path, body), "a completion"))
        if not answer.begun:
            raise self._http.server.nonsense("a completion")
        if answer.finish_reason in BROKEN_OFF:
            raise self._http.server.error_in_stream({"error": f"the answer was given up ({answer.finish_reason})"})
        return answer.result(left_out(request, lessons, _DROPPED))

    def _may_be_silent(self, request: ChatRequest) -> bool:
        """For as long as it thinks; and most models of OpenAI do, also where nobody has asked for it."""
        return self._is_openai or request.reasoning_effort not in ("", "none")

    async def _stream(self, path: str, body: object, answer: Answer, on_delta: OnDelta, *, patient: bool) -> None:
        done = False
        try:
            done = await self._events(path, body, answer, on_delta, patient=patient)
        except StreamCut:
            if not answer.finish_reason:  # what had said why it ends was whole
                raise
        if not done and not answer.finish_reason:
            raise self._http.server.cut()
        if rest := answer.end():
            on_delta(rest)

    async def _events(self, path: str, body: object, answer: Answer, on_delta: OnDelta, *, patient: bool) -> bool:
        """Whether the last one of all has come."""
        async with self._http.events(path, body, patient=patient) as events:
            async for event in events:
                if event.data.strip() == "[DONE]":
                    return True
                if event.name == "ping":  # to keep the connection, with whatever in it
                    continue
                chunk = self._http.server.decode(event.data)
                if event.name == "error":
                    raise self._http.server.error_in_stream(chunk)
                if delta := self._add(answer, self._http.server.checked(chunk, "a completion")):
                    on_delta(delta)
        return False

    def _add(self, answer: Answer, chunk: dict[str, Any]) -> str:
        with self._http.server.reading("a completion"):
            return answer.add(chunk)

    def chat_body(self, request: ChatRequest, lessons: Collection[str] = ()) -> dict[str, Any]:
        wanted = _response_format(request, lessons)
        messages = request.messages
        if request.json and _needs_words(request, wanted):
            messages = in_words(messages, request.json_schema)
        if "system" in lessons:
            messages = without_system(messages)
        if "in turn" in lessons:
            messages = joined(messages)
        body = self._common(request, lessons)
        body["messages"] = [self._message(message, lessons) for message in messages]
        if request.tools:
            body["tools"] = [tool.own or {"type": "function", "function": _function(tool)} for tool in request.tools]
        if request.tool_name:
            body["tool_choice"] = {"type": "function", "function": {"name": request.tool_name}}
        elif request.tool_choice:
            body["tool_choice"] = request.tool_choice
        if wanted:
            body["response_format"] = wanted
        if request.reasoning_effort and "reasoning_effort" not in lessons:
            body["reasoning_effort"] = request.reasoning_effort
        return body | request.options

    def raw_body(self, request: ChatRequest, lessons: Collection[str] = ()) -> dict[str, Any]:
        if len(request.messages) != 1:
            raise BadRequest("raw takes one prompt, without system or other messages")
        body = self._common(request, lessons) | {"prompt": request.messages[0].content}
        if request.max_tokens is not None:
            body["max_tokens"] = request.max_tokens  # in this older method also with OpenAI
            body.pop("max_completion_tokens", None)
        return body | request.options

    def _common(self, request: ChatRequest, lessons: Collection[str]) -> dict[str, Any]:
        names = [name for name in (*_SAMPLING, *_LOCAL_ONLY) if name not in self.ignored and name not in lessons]
        body = {name: value for name in names if (value := getattr(request, name)) is not None}
        body["model"] = request.model
        if request.max_tokens is not None:
            renamed = self._is_openai or "max_tokens" in lessons
            body["max_completion_tokens" if renamed else "max_tokens"] = request.max_tokens
        if request.stop:
            body["stop"] = list(request.stop)
        if request.stream:
            body["stream"] = True
            if "stream_options" not in lessons:
                body["stream_options"] = {"include_usage": True}
        return body

    def _message(self, message: Message, lessons: Collection[str]) -> dict[str, Any]:
        wire = _message(message)
        # Thinking models of compatible servers (DeepSeek) go on with their thoughts after a call; OpenAI keeps its own.
        if message.reasoning and message.tool_calls and not self._is_openai and "reasoning_content" not in lessons:
            wire["reasoning_content"] = message.reasoning
        return wire

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        """In as many requests, one after the other, as the API's limits make of it."""
        parts = [await self._embed(replace(request, inputs=inputs)) for inputs in _parts(request.inputs)]
        vectors = [vector for part in parts for vector in part.embeddings]
        used = [part.usage for part in parts if part.usage is not None]
        return EmbedResult(embeddings=vectors, model=parts[0].model, usage=sum(used[1:], used[0]) if used else None)

    async def _embed(self, request: EmbedRequest) -> EmbedResult:
        body: dict[str, Any] = {"model": request.model, "input": list(request.inputs)}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        expected = "embeddings for each input"
        answer = self._http.server.checked(await self._http.post_json("/embeddings", body | request.options), expected)
        with self._http.server.reading(expected):
            data = sorted(answer["data"], key=lambda one: one.get("index", 0))
            vectors = [vector(one["embedding"]) for one in data]
            model, usage = text_of(answer.get("model"), request.model), usage_of(answer.get("usage"))
        if len(vectors) != len(request.inputs):
            raise self._http.server.nonsense(expected)
        return EmbedResult(embeddings=vectors, model=model, usage=usage)

    async def models(self) -> list[ModelInfo]:
        answer = await self._http.get_json("/models")
        match answer:
            case {"data": list(data)} | list(data):  # Together's way
                return [_model(one) for one in data if isinstance(one, dict) and "id" in one]
        self._http.server.checked(answer, "a list of models")
        raise self._http.server.nonsense("a list of models")

    async def close(self) -> None:
        await self._http.close()


def _parts(inputs: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    began = characters = 0
    for at, text in enumerate(inputs):
        characters += len(text)
        if at > began and (at - began == MOST_INPUTS or characters > MOST_CHARACTERS):
            yield inputs[began:at]
            began, characters = at, len(text)
    yield inputs[began:]


def _message(message: Message) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.images:
        images = [_image(image) for image in message.images]
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


def _image(image: Image) -> dict[str, Any]:
    if not image.is_pdf:
        detail = {"detail": image.detail} if image.detail else {}
        return {"type": "image_url", "image_url": {"url": image.data_url, **detail}}
    return {"type": "file", "file": {"filename": "document.pdf", "file_data": image.data_url}}


def _tool_call(call: ToolCall) -> dict[str, Any]:
    given = call.arguments
    arguments = given if isinstance(given, str) else msgspec.json.encode(given).decode()
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _function(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return function | {"strict": True} if tool.strict else function


def _lesson(request: ChatRequest, known: Collection[str], message: str) -> str:
    """What can be done without, by what the server has said of the request; empty if nothing."""
    lower = message.lower()
    if request.max_tokens is not None and "max_completion_tokens" in lower:
        return "max_tokens"
    if request.stream and "stream_options" in lower:
        return "stream_options"
    if "reasoning_content" in lower:
        return "reasoning_content"
    is_of_schema = "invalid schema" in lower or NO_GRAMMAR.search(lower)
    if request.json and not is_of_schema and _SAYS_FORMAT.search(lower):
        return "json_object" if request.json_schema is None or "json_schema" in known else "json_schema"
    if order := _order(request, known, lower):
        return order
    if refused := refused_one(message, _DROPPED):
        return refused
    # Which of our words for it a model knows, it says in many ways.
    return "reasoning_effort" if request.reasoning_effort and _SAYS_EFFORT.search(lower) else ""


def _order(request: ChatRequest, known: Collection[str], says: str) -> str:
    """What a model's template does not take of the roles in which is spoken."""
    if _IN_TURN in says and "in turn" not in known and needs_joining(request.messages):
        return "in turn"
    has_system = any(message.role == "system" for message in request.messages)
    refuses = _NO_SYSTEM.search(says) or (_IN_TURN in says and "optional system message" not in says)
    return "system" if has_system and refuses else ""


def _response_format(request: ChatRequest, lessons: Collection[str]) -> dict[str, Any] | None:
    """None: there is nothing to ask for, or the model takes nothing of the kind."""
    if not request.json or "json_object" in lessons:
        return None
    if request.json_schema is None:
        return {"type": "json_object"}
    if "json_schema" in lessons:
        return {"type": "json_object"} if is_of_objects(request.json_schema) else None
    described: dict[str, Any] = {"name": "answer", "schema": request.json_schema}
    if request.json_strict:
        described["strict"] = True
    return {"type": "json_schema", "json_schema": described}


def _needs_words(request: ChatRequest, wanted: dict[str, Any] | None) -> bool:
    """A schema that goes along needs none. OpenAI takes json_object only where the messages speak of JSON."""
    match wanted:
        case {"type": "json_schema"}:
            return False
        case {"type": "json_object"} if request.json_schema is None:
            return not any("json" in message.content.lower() for message in request.messages)
    return True


def _model(described: Mapping[str, Any]) -> ModelInfo:
    meta = described.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    context = described.get("max_model_len") or described.get("context_length") or meta.get("n_ctx_train")
    return ModelInfo(
        name=str(described["id"]),
        size_bytes=count_of(meta.get("size")) or None,
        context_tokens=count_of(context) or None,
    )

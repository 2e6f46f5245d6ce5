"""Anthropic's Messages API, and what else speaks it."""

from collections.abc import Collection, Sequence
from functools import partial
from itertools import groupby
from typing import Any, Final

from gz_provider_llm.backends.anthropic_answer import Answer, joined
from gz_provider_llm.backends.backend import OnDelta
from gz_provider_llm.backends.lessons import SAMPLING, Lessons, left_out, refused_one
from gz_provider_llm.errors import BadRequest
from gz_provider_llm.shapes.files import Image
from gz_provider_llm.shapes.requests import ChatRequest, EmbedRequest, Message
from gz_provider_llm.shapes.results import ChatResult, EmbedResult, ModelInfo, count_of
from gz_provider_llm.shapes.structured import instruction
from gz_provider_llm.transport.http import Http

ANTHROPIC_URL = "https://api.anthropic.com"
ANTHROPIC_VERSION = "2023-06-01"
MAX_TOKENS = 4096  # the API demands a number where others do without
CAPACITY = 8
MOST_TURNS = 10
"""Of an answer that its server interrupts to search or to run something, and goes on with when it is asked to."""
WARMEST = 1
"""Others have temperatures up to 2."""

_EFFORT: Final = {"minimal": "low"}
_BUDGETS: Final = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 24576, "max": 24576}
"""Tokens to think by, for models before those that know an effort."""
_LEAST_BUDGET: Final = 1024
_DROPPED: Final = (*SAMPLING, "reasoning_effort")


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
        self._lessons = Lessons()

    @property
    def capacity(self) -> int:
        return self._capacity

    async def chat(self, request: ChatRequest, on_delta: OnDelta) -> ChatResult:
        if request.raw:
            raise BadRequest("anthropic has no raw completions: leave `raw` out")
        return await self._lessons.asking(request, partial(self._ask, request, on_delta), partial(_lesson, request))

    async def _ask(self, request: ChatRequest, on_delta: OnDelta, lessons: frozenset[str]) -> ChatResult:
        body = chat_body(request, lessons)
        answers = [await self._answer(request, body, on_delta)]
        while answers[-1].paused and answers[-1].blocks and len(answers) < MOST_TURNS:
            messages = [*body["messages"], *(answer.as_message() for answer in answers)]
            onward = {**body, "messages": messages, **answers[-1].workplace()}
            answers.append(await self._answer(request, onward, on_delta))
        warnings = left_out(request, lessons, _DROPPED)
        if _wants_thoughts(request) and "thinking" not in body and not warnings:
            warnings = (f"max_tokens leaves {request.model} no room to think: reasoning_effort was left out",)
        if body.get("temperature") == WARMEST < (request.temperature or 0):
            warnings += (f"anthropic has no temperature above {WARMEST}: it was asked with that",)
        return joined([answer.result(warnings) for answer in answers])

    async def _answer(self, request: ChatRequest, body: dict[str, Any], on_delta: OnDelta) -> Answer:
        answer = Answer(request.model)
        if request.stream:
            await self._stream(body, answer, on_delta)
        else:
            message = self._http.server.checked(await self._http.post_json("/v1/messages", body), "a message")
            with self._http.server.reading("a message"):
                answer.take(message)
        return answer

    async def _stream(self, body: dict[str, Any], answer: Answer, on_delta: OnDelta) -> None:
        async with self._http.events("/v1/messages", body) as events:
            async for event in events:
                if event.name == "ping":
                    continue
                data = self._http.server.checked(self._http.server.decode(event.data), "events of a message")
                with self._http.server.reading("events of a message"):
                    delta = answer.add(data)
                if delta:
                    on_delta(delta)
                if answer.complete:
                    break
        if not answer.complete:
            raise self._http.server.cut()

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        raise BadRequest("anthropic has no embeddings: use another provider for this task")

    async def models(self) -> list[ModelInfo]:
        answer = await self._http.get_json("/v1/models?limit=1000")
        match answer:
            case {"data": list(data)}:
                return [
                    ModelInfo(name=str(one["id"]), context_tokens=count_of(one.get("max_input_tokens")) or None)
                    for one in data
                    if isinstance(one, dict) and "id" in one
                ]
        raise self._http.server.nonsense("a list of models")

    async def close(self) -> None:
        await self._http.close()


def chat_body(request: ChatRequest, lessons: Collection[str] = ()) -> dict[str, Any]:
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
        if name not in lessons and (value := getattr(request, name)) is not None:
            body[name] = min(value, WARMEST) if name == "temperature" else value
    if request.stop:
        body["stop_sequences"] = list(request.stop)
    if request.stream:
        body["stream"] = True
    return body | _tools(request) | _thinking(request, lessons) | _output(request, lessons) | request.options


def _lesson(request: ChatRequest, known: Collection[str], message: str) -> str:
    """What can be done without, by what the server has said of the request; empty if nothing."""
    lower = message.lower()
    if refused := refused_one(message, [name for name in SAMPLING if getattr(request, name) is not None]):
        return refused
    if request.reasoning_effort and "thinking" in lower and "tool_choice" in lower:
        return "reasoning_effort"
    if request.reasoning_effort and "reasoning_effort" not in known and "support" in lower:
        # Older models know a number of tokens in place of an effort, and those before them neither.
        if _wants_thoughts(request) and "effort" not in known and ("adaptive" in lower or "effort" in lower):
            return "effort"
        if "thinking" in lower:
            return "reasoning_effort"
    if request.json_schema is not None and any(w in lower for w in ("output_config", "output_format", "schema")):
        return "format"
    return refused_one(message, _DROPPED)


def _tools(request: ChatRequest) -> dict[str, Any]:
    if not request.tools:
        return {}
    parts: dict[str, Any] = {"tools": []}
    for tool in request.tools:
        described = {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
        parts["tools"].append(tool.own or (described | {"strict": True} if tool.strict else described))
    if request.tool_name:
        parts["tool_choice"] = {"type": "tool", "name": request.tool_name}
    elif request.tool_choice:
        parts["tool_choice"] = {"type": "any" if request.tool_choice == "required" else request.tool_choice}
    return parts


def _wants_thoughts(request: ChatRequest) -> bool:
    return request.reasoning_effort not in ("", "none")


def _thinking(request: ChatRequest, lessons: Collection[str]) -> dict[str, Any]:
    if not request.reasoning_effort or "reasoning_effort" in lessons:
        return {}
    if request.reasoning_effort == "none":
        return {"thinking": {"type": "disabled"}}
    if "effort" not in lessons:
        return {"thinking": {"type": "adaptive"}}
    budget = _BUDGETS[request.reasoning_effort]
    if request.max_tokens is None:
        return {"thinking": {"type": "enabled", "budget_tokens": budget}, "max_tokens": budget + MAX_TOKENS}
    if request.max_tokens <= _LEAST_BUDGET:
        return {}
    budget = min(budget, max(_LEAST_BUDGET, request.max_tokens // 2))
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


def _output(request: ChatRequest, lessons: Collection[str]) -> dict[str, Any]:
    output_config: dict[str, Any] = {}
    if _wants_thoughts(request) and not {"effort", "reasoning_effort"}.intersection(lessons):
        output_config["effort"] = _EFFORT.get(request.reasoning_effort, request.reasoning_effort)
    if request.json_schema is not None and "format" not in lessons:
        output_config["format"] = {"type": "json_schema", "schema": request.json_schema}
    return {"output_config": output_config} if output_config else {}


def _turns(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The API wants user and assistant in turn, and none that says nothing; results of tools are the user's."""
    said = [message for message in messages if _blocks(message)]
    return [
        {"role": role, "content": [block for message in turn for block in _blocks(message)]}
        for role, turn in groupby(said, lambda message: "assistant" if message.role == "assistant" else "user")
    ]


def _blocks(message: Message) -> list[dict[str, Any]]:
    if message.role == "tool":
        return [{"type": "tool_result", "tool_use_id": message.tool_call_id, "content": message.content}]
    blocks = [*message.thinking_blocks, *map(_image, message.images)]
    if message.content.strip():  # the API refuses a text that is only white
        blocks.append({"type": "text", "text": message.content})
    for call in message.tool_calls:
        given = call.arguments if isinstance(call.arguments, dict) else {}
        blocks.append({"type": "tool_use", "id": call.id, "name": call.name, "input": given})
    return blocks


def _image(image: Image) -> dict[str, Any]:
    return {"type": "document" if image.is_pdf else "image", "source": _source(image)}


def _source(image: Image) -> dict[str, str]:
    if image.url:
        return {"type": "url", "url": image.url}
    return {"type": "base64", "media_type": image.media_type, "data": image.data_base64}

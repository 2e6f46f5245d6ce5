"""Ollama's wire: requests and answers of `/api/chat`, `/api/generate` and `/api/embed`, mapped each way. No I/O."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from gz_provider_llm.backends.thoughts import Thoughts, ended
from gz_provider_llm.errors import BadRequest
from gz_provider_llm.shapes.requests import ChatRequest, EmbedRequest, Message, ToolCall, tool_arguments
from gz_provider_llm.shapes.results import ChatResult, Usage, count_of, text_of

# What users of Ollama know as members of the request itself; everything else in `options` belongs into its `options`.
_TOP_LEVEL: Final = frozenset(
    {
        "keep_alive",
        "think",
        "format",
        "template",
        "suffix",
        "truncate",
        "shift",
        "dimensions",
        "logprobs",
        "top_logprobs",
    }
)
_OPTIONS: Final = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "seed": "seed",
    "repeat_penalty": "repeat_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "num_ctx": "num_ctx",
    "max_tokens": "num_predict",
}
_EFFORTS: Final[Mapping[str, bool | str]] = {"none": False, "minimal": "low", "xhigh": "high", "max": "high"}
_TIMINGS: Final = {"load": "load_duration", "prompt": "prompt_eval_duration", "generate": "eval_duration"}
_NS_PER_MS: Final = 1_000_000
_SPEAKERS: Final = {"user": "User", "assistant": "Assistant", "tool": "Result of a tool"}


def chat_body(request: ChatRequest, lessons: Collection[str] = ()) -> dict[str, Any]:
    """For /api/chat. `lessons` are what the model has said that it does not take: see `lesson`."""
    body = {"model": request.model, "messages": _messages(request.messages), **_common(request, lessons)}
    # There is no tool_choice on this wire: a tool that must not be called is not shown, nor are the others of one that
    # must.
    if own := [tool.own["type"] for tool in request.tools if tool.own]:
        raise BadRequest(f"Ollama has no tools of its own: leave {', '.join(own)} out, or ask another provider")
    tools = [tool for tool in request.tools if request.tool_name in ("", tool.name)]
    if tools and request.tool_choice != "none":
        shown = [{"name": t.name, "description": t.description, "parameters": t.parameters} for t in tools]
        body["tools"] = [{"type": "function", "function": function} for function in shown]
    return body


def generate_body(request: ChatRequest, lessons: Collection[str] = ()) -> dict[str, Any]:
    """For /api/generate: a raw prompt, or what a server gets that has no /api/chat.

    A conversation is written out; its last message is answered. Raises BadRequest for tools.
    """
    if request.tools:
        raise BadRequest("this server has no /api/chat, and without it no tools can be called")
    spoken = [message for message in request.messages if message.role != "system"]
    system = "\n\n".join(message.content for message in request.messages if message.role == "system")
    body = {"model": request.model, "prompt": _transcript(spoken), **_common(request, lessons)}
    if system:
        body["system"] = system
    if images := [image.base64_for("ollama") for message in spoken for image in message.images]:
        body["images"] = images
    if request.raw:
        body["raw"] = True
    return body


def lesson(request: ChatRequest, message: str) -> str:
    """What can be done without, by what the server has said of the request; empty if nothing. Most models that think
    only know whether to, and not how much."""
    if not request.reasoning_effort:
        return ""
    if "think value" in message:
        return "effort"
    return "reasoning_effort" if "does not support thinking" in message else ""


def embed_body(request: EmbedRequest) -> dict[str, Any]:
    """For /api/embed."""
    body: dict[str, Any] = {"model": request.model, "input": list(request.inputs)}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    return body | _split_options({}, request.options)


def old_embed_bodies(request: EmbedRequest) -> list[dict[str, Any]]:
    """For /api/embeddings, which takes one text at a time. Raises BadRequest for vectors of a length of their own."""
    if request.dimensions is not None:
        raise BadRequest("this server has no /api/embed, and without it vectors cannot be shortened (dimensions)")
    options = _split_options({}, request.options)
    return [{"model": request.model, "prompt": text, **options} for text in request.inputs]


def _common(request: ChatRequest, lessons: Collection[str]) -> dict[str, Any]:
    """Always a stream: so silence can be told from work, and an answer that nobody wants can be stopped."""
    options = {theirs: value for ours, theirs in _OPTIONS.items() if (value := getattr(request, ours)) is not None}
    if request.stop:
        options["stop"] = list(request.stop)
    body: dict[str, Any] = {"stream": True}
    if request.json:
        body["format"] = "json" if request.json_schema is None else request.json_schema
    if request.reasoning_effort and "reasoning_effort" not in lessons:
        effort = _EFFORTS.get(request.reasoning_effort, request.reasoning_effort)
        body["think"] = bool(effort) if "effort" in lessons else effort
    return body | _split_options(options, request.options)


def _split_options(options: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    top = {name: value for name, value in given.items() if name in _TOP_LEVEL}
    options = options | {name: value for name, value in given.items() if name not in _TOP_LEVEL}
    return top | ({"options": options} if options else {})


def _messages(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    tools = {call.id: call.name for message in messages for call in message.tool_calls}
    return [_message(message, tools) for message in messages]


def _message(message: Message, tools: Mapping[str, str]) -> dict[str, Any]:
    """`tools` are the names of those that were called, by the id of the call."""
    body: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.images:
        body["images"] = [image.base64_for("ollama") for image in message.images]
    if message.tool_calls:
        body["tool_calls"] = [_tool_call(call) for call in message.tool_calls]
        # Models that think go on with their thoughts after a call.
        body |= {"thinking": message.reasoning} if message.reasoning else {}
    if message.role == "tool":
        # Which call is answered, newer servers know by its id, older ones by the name of the tool.
        body |= {"tool_call_id": message.tool_call_id} if message.tool_call_id else {}
        name = message.name or tools.get(message.tool_call_id)
        body |= {"tool_name": name} if name else {}
    return body


def _tool_call(call: ToolCall) -> dict[str, Any]:
    """Arguments are an object on this wire, also those that a model has spoilt."""
    arguments = call.arguments if isinstance(call.arguments, dict) else {"arguments": call.arguments}
    body = {"function": {"name": call.name, "arguments": arguments}}
    return {"id": call.id, **body} if call.id else body


def _transcript(messages: list[Message]) -> str:
    if len(messages) == 1:
        return messages[0].content
    spoken = [f"{_SPEAKERS[message.role]}: {message.content}" for message in messages]
    return "\n\n".join([*spoken, "Assistant:"])


class Answer:
    """An answer as it grows, line by line, from /api/chat or /api/generate. `done` is set by its last line. `raw`: its
    text is left as it is."""

    def __init__(self, *, raw: bool = False) -> None:
        self.done = False
        self._raw = raw
        self._thoughts = Thoughts()
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[ToolCall] = []
        self._logprobs: list[Any] = []
        self._last: Mapping[str, Any] = {}

    def add(self, line: Mapping[str, Any]) -> str:
        """Returns the text that this line adds to the answer, often none. Raises TypeError, KeyError and AttributeError
        for what Ollama would not say."""
        said = line.get("message") or line
        text, thought = said.get("content") or line.get("response") or "", said.get("thinking") or ""
        if not (isinstance(text, str) and isinstance(thought, str)):
            raise TypeError("what the model says is no text")
        if text and not self._raw:  # older servers leave the thoughts in the text
            text, tagged = self._thoughts.feed(text)
            thought += tagged
        self._reasoning.append(thought)
        for call in said.get("tool_calls") or ():
            function = call["function"]
            number, name = text_of(call.get("id"), f"call_{len(self._calls) + 1}"), text_of(function["name"])
            self._calls.append(ToolCall(number, name, tool_arguments(function.get("arguments") or {})))
        if isinstance(line.get("logprobs"), list):
            self._logprobs += line["logprobs"]
        if line.get("done"):
            self.done, self._last = True, line
            rest = self._thoughts.end()
            if self._thoughts.open:
                self._reasoning.append(rest)
            else:
                text += rest
        self._content.append(text)
        return text

    def result(self, model: str, provider_id: str, warnings: tuple[str, ...] = ()) -> ChatResult:
        last = self._last
        content, thought = "".join(self._content), "".join(self._reasoning)
        if not (self._raw or thought):
            content, thought = ended(content)
        return ChatResult(
            content=content,
            model=text_of(last.get("model"), model),
            finish_reason="tool_calls" if self._calls else text_of(last.get("done_reason"), "stop"),
            usage=usage_of(last),
            reasoning=thought,
            tool_calls=tuple(self._calls),
            timings_ms={
                ours: ns / _NS_PER_MS for ours, theirs in _TIMINGS.items() if (ns := count_of(last.get(theirs)))
            },
            provider_id=provider_id,
            logprobs=self._logprobs,
            warnings=warnings,
        )


def usage_of(answer: Mapping[str, Any]) -> Usage | None:
    """A count that is missing is 0: older servers leave out that of a prompt which they still remember."""
    counts = answer.get("prompt_eval_count"), answer.get("eval_count")
    return None if counts == (None, None) else Usage(count_of(counts[0]), count_of(counts[1]))


class Download:
    """The lines of /api/pull, as a whole: layers come one after the other, each with its own count."""

    def __init__(self) -> None:
        self.done = False
        self._total: dict[str, float] = {}
        self._completed: dict[str, float] = {}

    def add(self, line: Mapping[str, Any]) -> tuple[float, float | None, str]:
        """Bytes that are there, of how many as far as is known yet, and what is being done."""
        status = text_of(line.get("status"))
        if digest := text_of(line.get("digest")):
            self._total[digest] = count_of(line.get("total"))
            self._completed[digest] = count_of(line.get("completed"))
        self.done = status == "success"
        return sum(self._completed.values()), sum(self._total.values()) or None, status

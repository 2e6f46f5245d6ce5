"""What a task asks of a model, in the one shape that every back end maps from.

`chat_request` and `embed_request` make it of the params of a call, which users write in several ways: a prompt or
messages, texts and images by path, tools in the manner of OpenAI, Anthropic or MCP. The params have passed the schema.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gleitzeit.spec.references.references import as_text
from gz_provider_llm.errors import BadRequest
from gz_provider_llm.shapes.conversations import unfolded
from gz_provider_llm.shapes.files import Files, Image, image_in, image_of, is_elsewhere, is_image_path, of_text_size

Role = Literal["system", "user", "assistant", "tool"]

_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("text", "input_text", "output_text"), ("text",)),
    **dict.fromkeys(("image_url", "input_image"), ("image_url", "file_id")),
    **dict.fromkeys(("image", "document"), ("source",)),
    "file": ("file",),
    "input_file": ("file_data", "file_id", "file_url"),
    "input_audio": ("input_audio",),
}
"""By their types, the members of parts of messages of which at least one is there."""
_COPIED = (
    "temperature", "max_tokens", "top_p", "top_k", "seed", "repeat_penalty", "num_ctx",
    "presence_penalty", "frequency_penalty", "reasoning_effort", "raw", "stream",
)  # fmt: skip


class ToolCall(Struct, frozen=True):
    """A tool that the model wants to be called. `arguments` is decoded; text only if the model wrote no JSON."""

    id: str
    name: str
    arguments: Any


class Message(Struct, frozen=True, kw_only=True):
    """`tool_call_id` and `name` belong to a message of role `tool`: which call it answers, and of which tool.

    `reasoning` is what the model thought before it said this, `thinking_blocks` the same as Anthropic wants it back.
    """

    role: Role
    content: str = ""
    images: tuple[Image, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    name: str = ""
    reasoning: str = ""
    thinking_blocks: tuple[dict[str, Any], ...] = ()


class Tool(Struct, frozen=True):
    """`parameters` is a JSON Schema of an object; `strict` holds the server to it, where it can. `own` is one that the
    server has and runs itself, as its API writes it: a search in the web."""

    name: str
    description: str
    parameters: dict[str, Any]
    strict: bool = False
    own: dict[str, Any] | None = None


class ChatRequest(Struct, frozen=True, kw_only=True):
    """None means: not said, leave it to the server; such a member is not sent.

    `tool_choice` is `auto`, `none`, `required`, or empty; `tool_name` is the one tool that must be called, or empty.
    `json` asks for JSON, `json_schema` for JSON of that shape (`json` is true then), `json_strict` for a server that
    holds itself to it, where it can. `raw` sends the one message as it stands, without a chat template. `options` goes
    to the server verbatim, over whatever we set. `strategy` is how one of several servers is chosen; empty: as we like.
    """

    model: str
    messages: tuple[Message, ...]
    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    num_ctx: int | None = None
    stop: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: str = ""
    tool_name: str = ""
    json: bool = False
    json_schema: dict[str, Any] | None = None
    json_strict: bool = False
    reasoning_effort: str = ""
    raw: bool = False
    options: dict[str, Any] = {}
    stream: bool = True
    strategy: str = ""

    def with_messages(self, *more: Message) -> "ChatRequest":
        return replace(self, messages=(*self.messages, *more))


class EmbedRequest(Struct, frozen=True, kw_only=True):
    """`dimensions` shortens the vectors, where the model can."""

    model: str
    inputs: tuple[str, ...]
    dimensions: int | None = None
    options: dict[str, Any] = {}
    strategy: str = ""


def chat_request(params: Mapping[str, Any], model: str, files: Files) -> ChatRequest:
    """From the params of llm/chat, llm/generate or llm/vision. Reads files: call it in a thread if it names any.

    Raises BadRequest for what the schema cannot see: a file that is not there, an image that is none, no message.
    """
    tool_choice, tool_name = _tool_choice(params.get("tool_choice"))
    wants_json, json_schema = _response_format(params.get("response_format"))
    stop = params.get("stop", ())
    return ChatRequest(
        model=model,
        messages=_messages(params, files),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        tools=tuple(_tool(tool) for tool in params.get("tools", ())),
        tool_choice=tool_choice,
        tool_name=tool_name,
        json=wants_json,
        json_schema=json_schema,
        json_strict=_is_strict(params.get("response_format")),
        options=params.get("options", {}),
        strategy=params.get("load_balancing_strategy", ""),
        **{name: params[name] for name in _COPIED if params.get(name) is not None},
    )


def embed_request(params: Mapping[str, Any], model: str, files: Files) -> EmbedRequest:
    """From the params of llm/embeddings: `text`, `input` or `prompt`, one or a list; or the text of a file."""
    given: Any = next((params[key] for key in ("input", "text", "prompt") if key in params), None)
    if given is None:
        given = files.text(params["file_path"])
    inputs = tuple(as_text(one) for one in given) if isinstance(given, list) else (as_text(given),)
    if not inputs:
        raise BadRequest("there is nothing to embed: the list is empty")
    return EmbedRequest(
        model=model,
        inputs=inputs,
        dimensions=params.get("dimensions"),
        options=params.get("options", {}),
        strategy=params.get("load_balancing_strategy", ""),
    )


def _messages(params: Mapping[str, Any], files: Files) -> tuple[Message, ...]:
    messages = [_message(one, files) for given in params.get("messages", ()) for one in unfolded(given)]
    if "system" in params:
        messages.insert(0, Message(role="system", content=as_text(params["system"])))
    if "prompt" in params:
        messages.append(Message(role="user", content=as_text(params["prompt"])))
    text, images = _attached(params, files)
    if text or images:
        _attach(messages, text, images)
    if not any(message.role != "system" for message in messages):
        raise BadRequest("there is nothing to answer: give a prompt, messages or a file")
    return tuple(messages)


def _attached(params: Mapping[str, Any], files: Files) -> tuple[str, tuple[Image, ...]]:
    """What stands in files or beside the messages: text for the end of the last question, and its images."""
    text = ""
    images = [image_of(image, files) for image in params.get("images", ())]
    if "image_data" in params:
        images.append(image_of(params["image_data"], files))
    for image in (*_given(params, "image_path"), *params.get("image_paths", ())):
        images.append(_image(image, files))
    for file in (*_given(params, "file_path"), *params.get("files", ())):
        path = file if isinstance(file, str) else file["path"]
        if isinstance(file, dict):
            if file.get("encoding", "base64" if is_image_path(path) else "text") == "base64":
                images.append(image_in(file["content"], path, "neither a text nor an image"))
            else:
                text += f"\n\nFile content from {path}:\n{of_text_size(file['content'], path)}"
        elif is_image_path(path):
            images.append(files.image(path))
        else:
            text += f"\n\nFile content from {path}:\n{files.text(path)}"
    return text, tuple(images)


def _image(given: Any, files: Files) -> Image:
    """By its path, with the content that came along, or somewhere else."""
    if not isinstance(given, str):
        return image_in(given["content"], given["path"])
    return image_of(given, files) if is_elsewhere(given) else files.image(given)


def _given(params: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return (params[name],) if name in params else ()


def _attach(messages: list[Message], text: str, images: tuple[Image, ...]) -> None:
    for at in range(len(messages) - 1, -1, -1):
        if messages[at].role == "user":
            last = messages[at]
            messages[at] = replace(last, content=last.content + text, images=last.images + images)
            return
    messages.append(Message(role="user", content=text.lstrip("\n"), images=images))


def _message(given: Mapping[str, Any], files: Files) -> Message:
    text, images = _content(given.get("content"), files)
    return Message(
        role="system" if given["role"] == "developer" else given["role"],
        content=text,
        images=(*images, *(image_of(image, files) for image in given.get("images", ()))),
        tool_calls=tuple(_tool_call(call) for call in given.get("tool_calls", ())),
        tool_call_id=given.get("tool_call_id", ""),
        name=given.get("name", ""),
        reasoning=given.get("reasoning", ""),
        thinking_blocks=tuple(given.get("thinking_blocks", ())),
    )


def _content(content: Any, files: Files) -> tuple[str, tuple[Image, ...]]:
    """Text, or the parts of which OpenAI's users make a message; any other value is a reference's, and becomes JSON."""
    if content is None:
        return "", ()
    if not isinstance(content, list) or not all(isinstance(part, dict) and _is_part(part) for part in content):
        return as_text(content), ()
    parts = [_part(part, files) for part in content]
    images = tuple(part for part in parts if isinstance(part, Image))
    return "\n".join(part for part in parts if isinstance(part, str)), images


def _is_part(part: Mapping[str, Any]) -> bool:
    """Whether it is what somebody's API calls a part of a message, and no data that looks a little like one."""
    kind = part.get("type")
    return isinstance(kind, str) and any(isinstance(part.get(member), str | dict) for member in _PARTS.get(kind, ()))


def _part(part: Mapping[str, Any], files: Files) -> str | Image:
    """A text or an image, as OpenAI (in both of its APIs) or Anthropic write it. Raises BadRequest for others."""
    match part:
        case {"type": "text" | "input_text" | "output_text", "text": str(text)}:
            return text
        case {"type": "image_url" | "input_image", "image_url": {"url": str(url), "detail": str(detail)}}:
            return replace(image_of(url, files), detail=detail)
        case {"type": "input_image", "image_url": str(url), "detail": str(detail)}:
            return replace(image_of(url, files), detail=detail)
        case {"type": "image_url" | "input_image", "image_url": {"url": str(url)} | str(url)}:
            return image_of(url, files)
        case {"type": "image" | "document", "source": {"type": "base64", "data": str(data)}}:
            return image_of(data, files)
        case {"type": "image", "source": {"type": "url", "url": str(url)}}:
            return image_of(url, files)
        case {"type": "document", "source": {"type": "url", "url": str(url)}}:
            return Image("application/pdf", "", url)
        case {"type": "input_file", "file_url": str(url)}:
            return Image("application/pdf", "", url)
        case {"type": "document", "source": {"type": "text", "data": str(text)}}:
            return text
        case {"type": "file", "file": {"file_data": str(data)}} | {"type": "input_file", "file_data": str(data)}:
            return image_of(data, files)
    raise BadRequest(f"a message has a part of type {part['type']} in a form that is not understood here")


def _tool(given: Mapping[str, Any]) -> Tool:
    tool = given.get("function", given)
    if tool.get("type", "function") not in ("function", "custom"):
        return Tool(tool.get("name", tool["type"]), "", {}, own=dict(tool))
    parameters = tool.get("parameters") or tool.get("input_schema") or tool.get("inputSchema")
    strict = tool.get("strict") is True
    return Tool(tool["name"], tool.get("description", ""), parameters or {"type": "object", "properties": {}}, strict)


def _tool_call(given: Mapping[str, Any]) -> ToolCall:
    call = given.get("function", given)
    return ToolCall(given.get("id", ""), call["name"], tool_arguments(call.get("arguments", {})))


def tool_arguments(arguments: Any) -> Any:
    """Decoded: OpenAI writes them as a JSON text. What a model wrote that is no JSON stays text."""
    if not isinstance(arguments, str):
        return arguments
    try:
        return msgspec.json.decode(arguments or "{}")
    except msgspec.DecodeError:
        return arguments


def _tool_choice(given: Any) -> tuple[str, str]:
    match given:
        case None:
            return "", ""
        case "any":
            return "required", ""
        case str():
            return given, ""
        case {"function": {"name": str(name)}} | {"name": str(name)}:
            return "", name
        case {"type": str(kind)}:
            return _tool_choice(kind)
    raise BadRequest("tool_choice must be auto, none, required, or name a function")


def _is_strict(given: Any) -> bool:
    match given:
        case {"json_schema": {"strict": True}} | {"type": "json_schema", "strict": True}:
            return True
    return False


def _response_format(given: Any) -> tuple[bool, dict[str, Any] | None]:
    """Whether JSON is asked for, and of what shape: in OpenAI's words, in Ollama's, or simply by a JSON Schema."""
    match given:
        case None | "text" | {"type": "text"}:
            return False, None
        case "json" | "json_object" | {"type": "json_object" | "json"}:
            return True, None
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}} | {
            "type": "json_schema",
            "schema": dict(schema),
        }:
            return True, schema
        case {"type": "json_schema"}:
            raise BadRequest("response_format: a json_schema needs a schema")
        case dict():
            return True, given
    raise BadRequest("response_format must be json, a JSON Schema, or {type, json_schema}")

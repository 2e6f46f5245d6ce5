"""A tool of a server as a method of ours: its name, its schemas, and what its answer is to a task."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any

import msgspec
from msgspec import Raw, Struct

from gleitzeit.errors import ResultInvalid, TaskError
from gleitzeit.jsonrpc.codec import decode_members, is_nested_deeper
from gleitzeit.jsonrpc.messages import ABSENT, NULL
from gleitzeit.mcp.memory import Known
from gleitzeit.schemas import (
    MethodSchema,
    SchemaProblem,
    builtin,
    compile_schema,
    explain,
    method_schema,
    verify,
)
from gleitzeit.spec.problems import show_path

logger = logging.getLogger(__name__)

PREFIX = "mcp/tool."
MAX_SCHEMA_NESTING = 40
"""It travels inside the description of the provider, which may be no deeper than any message."""
_SHOWN_ERROR = 2_000


class _Annotations(Struct, frozen=True, rename="camel"):
    read_only_hint: bool | None = None
    idempotent_hint: bool | None = None


class _Tool(Struct, frozen=True, rename="camel"):
    name: str
    title: str | None = None
    description: str | None = None
    input_schema: Raw = Raw(b"{}")
    output_schema: Raw = ABSENT
    annotations: Any = None


def tool_name(definition: Raw) -> str:
    """Raises msgspec.ValidationError for what is no tool."""
    return msgspec.json.decode(definition, type=_Tool).name


def tool_method(server: str, definition: Raw, aliases: Iterable[str] = ()) -> MethodSchema:
    """Described for documents and coordinators. A schema that nobody can check against allows everything.

    It may be repeated after a loss if it says of itself that this is harmless; the default of MCP is that it is not.
    """
    tool = msgspec.json.decode(definition, type=_Tool)
    name = f"{PREFIX}{server}.{tool.name}"
    document = {
        "description": tool.description or tool.title or "",
        "params": _schema(tool.input_schema) or {},
        "result": _result_schema(tool.output_schema),
        "x-aliases": list(aliases),
        "x-idempotent": _harmless(tool.annotations),
    }
    try:
        return verify(method_schema(name, document))
    except ValueError as error:
        logger.warning("%s: its schema cannot be used: %s", name, error)
        return method_schema(name, {**document, "params": {}, "result": None})


def _harmless(annotations: Any) -> bool:
    try:
        said = msgspec.convert(annotations or {}, _Annotations)
    except msgspec.ValidationError:
        return False
    return bool(said.read_only_hint or said.idempotent_hint)


def _schema(raw: Raw) -> dict[str, Any] | None:
    if is_nested_deeper(raw, MAX_SCHEMA_NESTING):
        return None
    schema = msgspec.json.decode(raw)
    if not isinstance(schema, dict):
        return None
    schema.pop("$schema", None)  # all are read as 2020-12, of which earlier drafts differ in no part that tools use
    return schema


def _result_schema(raw: Raw) -> dict[str, Any] | None:
    """Of what a task gets: the tool's own, with what `task_result` adds."""
    schema = _schema(raw) if len(raw) else None
    if schema is None or not isinstance(schema.get("properties", {}), dict):
        return None
    added: dict[str, Any] = {"response": {"type": "string", "description": "The text of the answer."}}
    added |= {"result": {"description": "All of it."}, "content": {"description": "As MCP has it, if it is not text."}}
    return {**schema, "properties": {**added, **schema.get("properties", {})}}


def methods_of_servers(servers: Mapping[str, Known]) -> list[MethodSchema]:
    """All tools as methods, each also by its bare name where no other tool, and none of ours, has that."""
    owners: dict[str, set[str]] = {}
    for server, tools in servers.items():
        for tool in tools:
            owners.setdefault(tool, set()).add(server)
    shipped = builtin()

    def aliases(tool: str) -> list[str]:
        bare = f"{PREFIX}{tool}"
        return [bare] if len(owners[tool]) == 1 and shipped.get(bare) is None else []

    return [
        tool_method(server, known.definition, aliases(tool))
        for server, tools in servers.items()
        for tool, known in tools.items()
    ]


class CallResult(Struct, frozen=True, rename="camel"):
    """What `tools/call` answers, of whichever era."""

    content: list[Raw] = []
    structured_content: Raw = ABSENT
    is_error: bool = False
    result_type: str = "complete"
    input_requests: dict[str, Any] = {}
    request_state: str | None = None


class _Block(Struct, frozen=True):
    type: str = ""
    text: str = ""


@contextmanager
def as_mcp_has_it(method: str) -> Iterator[None]:
    """Raises ResultInvalid for an answer that is read within and is not shaped as MCP says."""
    try:
        yield
    except msgspec.MsgspecError as error:
        raise ResultInvalid(f"the MCP server's answer to {method} is not what MCP asks for: {error}") from error


def text_of(content: list[Raw]) -> tuple[str, bool]:
    """The text blocks, one below the other; and whether there is nothing but text."""
    blocks = [msgspec.json.decode(raw, type=_Block) for raw in content]
    texts = [block.text for block in blocks if block.type == "text"]
    return "\n".join(texts), len(texts) == len(blocks)


@lru_cache(256)
def _output_check(output_schema: bytes) -> Callable[[object], list[SchemaProblem]] | None:
    """None for a schema that nobody can check against."""
    schema = _schema(Raw(output_schema))
    if schema is None:
        return None
    try:
        return partial(explain, compile_schema(schema), schema=schema)
    except ValueError:
        return None


def _check_output(definition: Raw, structured: Raw, text: str) -> None:
    """Since 2025-06-18 a server MUST keep to its `outputSchema`, and a client SHOULD look: what is wrong here would go
    wrong later, in a task that reads it. Raises ResultInvalid; it is not asked again, as the tool has done its work."""
    tool = msgspec.json.decode(definition, type=_Tool)
    check = _output_check(bytes(tool.output_schema)) if len(tool.output_schema) else None
    if check is None:
        return
    if not len(structured):
        problems = [SchemaProblem((), "it has no structuredContent")]
    else:
        problems = check(msgspec.json.decode(structured))
    if problems:
        listed = "; ".join(f"{show_path(one.path)}: {one.message}" if one.path else one.message for one in problems)
        raise ResultInvalid(
            f"the answer of the tool {tool.name} is not what its outputSchema says: {listed}"[:_SHOWN_ERROR],
            {"problems": msgspec.to_builtins(problems), "response": text[:_SHOWN_ERROR]},
            retryable=False,
        )


def task_result(raw: Raw, definition: Raw = ABSENT) -> Raw:
    """What a task that called the tool has for a result.

    Every key of `structuredContent` as it is, and where it has none of that name: `response`, the text; `result`, the
    whole `structuredContent`; `content`, MCP's blocks, if not all are text. Raises TaskError if the tool says that it
    has failed, ResultInvalid for an answer of another shape than MCP's, or than its `definition` promises.
    """
    with as_mcp_has_it("tools/call"):
        answer = msgspec.json.decode(raw, type=CallResult)
        text, only_text = text_of(answer.content)
    if answer.is_error:
        said = {"content": answer.content} if not only_text else {}
        raise TaskError(text[:_SHOWN_ERROR] or "the tool failed, and does not say why", {"isError": True, **said})
    structured = answer.structured_content
    if len(definition):
        _check_output(definition, structured, text)
    result: dict[str, object] = {}
    if len(structured) and bytes(structured) != NULL:
        result = {**decode_members(structured)}
        result.setdefault("result", structured)
    result.setdefault("response", text)
    if not only_text:
        result.setdefault("content", answer.content)
    return Raw(msgspec.json.encode(result))

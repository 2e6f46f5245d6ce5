"""Answers that have to be JSON: what a model is told, what is made of its answer, what it is told when that fails."""

import re
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gleitzeit.schemas.catalogue import compile_schema
from gleitzeit.schemas.explain import explain
from gz_provider_llm.account import give_back
from gz_provider_llm.errors import BadRequest, ServerError, costs_nothing
from gz_provider_llm.shapes.requests import ChatRequest, Message
from gz_provider_llm.shapes.results import ChatResult

if TYPE_CHECKING:
    import jsonschema_rs

TRIES = 3
"""The first, and two more in which the model reads what was wrong."""

NO_GRAMMAR: Final = re.compile(
    r"json schema error|json schema in format|schema conversion|not supported by (?:xgrammar|outlines|guidance)"
    r"|invalid json schema for response_format|(?:invalid|compile|convert|parse|build)\b.{0,20}\bgrammar|grammar error"
    r"|too many states|schema is too complex"
)
"""What servers say of a schema that their own part of inference cannot follow, in lower case."""
_PROBLEMS_SHOWN = 10


class Parsed(Struct, frozen=True):
    """`problems` is empty if `value` is what was asked for."""

    value: Any
    problems: tuple[str, ...] = ()


class Format:
    """JSON of the shape of a schema, or any. Raises BadRequest for what is no JSON Schema."""

    def __init__(self, schema: dict[str, Any] | None) -> None:
        self._schema = schema
        self._validator = None if schema is None else _compiled(msgspec.json.encode(schema))

    def parse(self, text: str) -> Parsed:
        """Of an answer. Models like to wrap their JSON in a code fence, or in some words: that is forgiven."""
        for candidate in _candidates(text):
            try:
                value = msgspec.json.decode(candidate)
            except (msgspec.DecodeError, RecursionError):
                continue
            return Parsed(value, self._problems(value))
        return Parsed(None, (_why_no_json(text),))

    def _problems(self, value: Any) -> tuple[str, ...]:
        if self._validator is None:
            return ()
        found = explain(self._validator, value, self._schema or {})
        return tuple(
            f"{'.'.join(map(str, problem.path)) or 'the value'}: {problem.message}"
            for problem in found[:_PROBLEMS_SHOWN]
        )


def instruction(schema: dict[str, Any] | None) -> str:
    """For models whose server has no parameter for it."""
    if schema is None:
        return "Answer with JSON only, without any other text."
    return (
        f"Answer with JSON only, without any other text, by this JSON Schema:\n{msgspec.json.encode(schema).decode()}"
    )


def in_words(messages: Sequence[Message], schema: dict[str, Any] | None) -> tuple[Message, ...]:
    """The conversation with that instruction, at its beginning: many models know one message of the system only."""
    said = instruction(schema)
    if messages and messages[0].role == "system":
        return replace(messages[0], content=f"{messages[0].content}\n\n{said}"), *messages[1:]
    return Message(role="system", content=said), *messages


def is_of_objects(schema: dict[str, Any]) -> bool:
    """Any other JSON than objects many servers do not let a model say that is asked for just any."""
    return schema.get("type") == "object" or "properties" in schema


async def in_words_where_needed(
    request: ChatRequest, ask: Callable[[ChatRequest], Awaitable[ChatResult]]
) -> ChatResult:
    """The answer of `ask`. A server that can make nothing of a schema, as llama.cpp of one that refers to itself, has
    generated nothing: it is asked for any JSON then, and its model is told the schema in words."""
    try:
        return await ask(request)
    except (BadRequest, ServerError) as error:
        if request.json_schema is None or not NO_GRAMMAR.search(error.message.lower()):
            raise
        if not costs_nothing(error):
            give_back()
    messages = in_words(request.messages, request.json_schema)
    told = replace(request, messages=messages, json=is_of_objects(request.json_schema), json_schema=None)
    result = await ask(told)
    warning = "this server can make nothing of the JSON Schema: its model was told it in words"
    return replace(result, warnings=(*result.warnings, warning))


def ask_again(answer: str, problems: tuple[str, ...]) -> tuple[Message, Message]:
    """What follows in the conversation after an answer that was wrong."""
    listed = "\n".join(f"- {problem}" for problem in problems)
    return (
        Message(role="assistant", content=answer or "(nothing)"),
        Message(
            role="user",
            content=f"That is not the JSON that was asked for:\n{listed}\nAnswer again, with the corrected JSON only.",
        ),
    )


def _candidates(text: str) -> list[str]:
    stripped = text.strip()
    candidates = [stripped]
    if "```" in stripped:
        fenced = stripped.split("```")[1]
        candidates.append(fenced.removeprefix("json").strip())
    for opening, closing in ("{}", "[]"):
        start, end = stripped.find(opening), stripped.rfind(closing)
        if 0 <= start < end:
            candidates.append(stripped[start : end + 1])
    return candidates


def _why_no_json(text: str) -> str:
    if not text.strip():
        return "the answer is empty"
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        return f"it is no JSON: {error}"
    return "it is no JSON"


@lru_cache(maxsize=256)
def _compiled(schema: bytes) -> "jsonschema_rs.Validator":
    try:
        return compile_schema(msgspec.json.decode(schema))
    except ValueError as error:
        raise BadRequest(f"response_format: this is no JSON Schema: {error}") from None

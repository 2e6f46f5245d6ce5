"""`gz protocols`: which protocols there are, the methods of one, and what a method takes and gives."""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence

from gleitzeit.client.coordinator import Coordinator
from gleitzeit.client.views import MethodView, ProtocolDetail, ProtocolView
from gleitzeit.errors import ProtocolNotFound
from gleitzeit.schemas.words import near
from gz_cli import exits
from gz_cli.documents import schema_words
from gz_cli.formats import Format
from gz_cli.terminal.ink import first_line, wrapped
from gz_cli.terminal.output import encode, short
from gz_cli.terminal.screen import columns
from gz_cli.terminal.table import fitted, table
from gz_cli.terminal.talk import put, say

UNBROKEN = 100
"""Cells of a line where there is no terminal that says how wide it is."""
_VERSION = re.compile(r"v\d+")


async def protocols(client: Coordinator, output: Format) -> int:
    """All of them, with the names of their methods."""
    found = await client.protocols()
    if output is Format.ID:
        put("\n".join(protocol.protocol for protocol in found))
    elif output is not Format.TEXT:
        put(encode(found, output))
    else:
        rows = [(one.protocol, ", ".join(one.providers), _names_within(one)) for one in found]
        put(fitted(("protocol", "providers", "methods"), rows))
        say("`gz protocols llm` tells of its methods, `gz protocols llm/chat` what that one takes and gives")
    return exits.OK


async def protocol(client: Coordinator, wanted: str, output: Format) -> int:
    """Of `python/v1` or `python` all methods, of `python/execute` that one. Raises ProtocolNotFound."""
    name, _, rest = wanted.partition("/")
    if rest and not _VERSION.fullmatch(rest):
        method = _of(await client.protocol(f"{name}/v1"), wanted)
        text, identity, whole = of_method(method, columns(sys.stdout)), method.name, encode(method, output)
    else:
        detail = await client.protocol(wanted if rest else f"{name}/v1")
        text, identity, whole = (
            of_protocol(detail.methods, columns(sys.stdout)),
            detail.protocol,
            encode(detail, output),
        )
    put(text if output is Format.TEXT else identity if output is Format.ID else whole)
    return exits.OK


def _of(detail: ProtocolDetail, wanted: str) -> MethodView:
    for method in detail.methods:
        if wanted in (method.name, *method.aliases):
            return method
    names = [method.name for method in detail.methods]
    meant = near(wanted, names)
    did_you = f"; did you mean {meant!r}?" if meant else f" (there are: {', '.join(names)})"
    raise ProtocolNotFound(f"{detail.protocol} has no method {wanted!r}{did_you}")


def _names_within(one: ProtocolView) -> str:
    prefix = one.protocol.partition("/")[0] + "/"
    return ", ".join(method.removeprefix(prefix) for method in one.methods)


def of_protocol(methods: Sequence[MethodView], width: int | None) -> str:
    """Each method with what it does and the names of its params; what may be left out stands in brackets."""
    room = (width or UNBROKEN) - 4
    return "\n\n".join("\n".join(_method(method, room)) for method in methods)


def _method(method: MethodView, room: int) -> Iterator[str]:
    yield method.name
    about = first_line(method.description)
    yield from (f"  {line}" for line in (wrapped(about, room) if about else []))
    names = " ".join(name if needed else f"[{name}]" for name, _, needed in schema_words.properties(method.params))
    yield from (f"    {line}" for line in (wrapped(names, room) if names else []))


def of_method(method: MethodView, width: int | None) -> str:
    """All of one method: its params and the keys of its result, with their types."""
    parts = ["\n".join(wrapped(f"{method.name}: {method.description.strip()}", width or UNBROKEN))]
    for title, schema in (("param", method.params), ("result", method.result)):
        rows = [
            (name, schema_words.about(told, needed=needed) + _default(told))
            for name, told, needed in schema_words.properties(schema)
        ]
        if rows:
            parts.append(table((title, "type, and what it is"), rows, width=width))
    if method.providers:
        parts.append(f"served by {', '.join(method.providers)}")
    return "\n\n".join(parts)


def _default(schema: Mapping[str, object]) -> str:
    return f" (default: {short(schema['default'], 40)})" if "default" in schema else ""

"""`${task.field}` in texts: found, read, replaced. What one stands for is the matter of `resolution`.

    ${task.field}  ${task.items[0].name}  ${task.results.0.x}  ${Load Data["a key"]}
    ${{ task.field }}        the same
    {{ task.field }}         the same, but left as it is when `task` names nothing
    $${                      the text `${`
    ${"any text"}            that text (a JSON string): the way to write `{{` or a `$` before a reference
    ${VAR:-default}          an environment variable; also `${VAR:default}` and `${env.VAR}`
    ${task.count * 2}        an expression (`spec.expressions`)
    ${secrets.NAME}          what the provider knows by that name (`model.secrets`)

Replacing is one pass: what a reference stands for is never read for references again. A text that is one reference
and nothing else becomes the value with its type; inside a longer text a value becomes text, as itself or as JSON.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import Struct

from gleitzeit.errors import ParameterError
from gleitzeit.model.secrets import Hidden, Secret

RESERVED: Final = frozenset({"workflow", "env", "config", "inputs", "parameters", "item", "index", "secrets"})
"""Ids that no task may have, because references read something else there."""

NAMESPACES: Final = frozenset({"workflow", "env", "config", "inputs", "input", "parameters"})
SECRETS: Final = "secrets"
"""Read by the provider, and only in what it is given."""
BUILT_INS: Final = frozenset({"WORKFLOW_ID", "REQUEST_ID", "TIMESTAMP", "date"})
GONE: Final = {"SENDER_WORKFLOW_ID": "who sent a signal is in the result of the task that took it, as ${wait.sender}"}
"""Built-ins of earlier versions, and what there is instead."""

LONGEST: Final = 1000
"""Characters of one reference."""

_TOKEN = re.compile(
    r"""(?P<escape>\$\$\{)
    | \$\{\s*(?P<literal>"(?:[^"\\\n]|\\.)*")\s*\}
    | \$\{\{(?P<doubled>(?:[^{}"'\n]|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')*)\}\}
    | \$\{(?P<inner>(?:[^{}"'\n]|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'
        |(?<!\$)\{(?:[^{}"'\n]|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')*\})*|[^{}\n]*)\}  # a map may stand in it
    | (?P<broken>\$\{)
    | \{\{\s*(?P<mustache>[A-Za-z_][\w\ -]*(?:\.[\w-]+|\[\d+\])+)\s*\}\}""",
    re.VERBOSE,
)
_STEP = re.compile(r"""\.([^.\[\]]+)|\[\s*(\d+)\s*\]|\[\s*"([^"\]]*)"\s*\]|\[\s*'([^'\]]*)'\s*\]""")
_VARIABLE = re.compile(r"(?:env\.)?([A-Za-z_]\w*):-?(.*)", re.DOTALL)
_OPERATOR = re.compile(r"""[|*<>=+&?!()"'/%,]|\s-\s|\s(?:and|or|not|in)\s|\[\s*[^\W\d]""")
_SIGN_BEFORE = re.compile(r"not\s|-")

AS_WRITTEN: Final = object()
"""What a `resolve` function answers to leave the reference as the text it is (for `{{ … }}` that names nothing)."""


class Reference(Struct, frozen=True):
    """`source` is the whole text with its braces, `text` what stands inside. Steps of `path` are keys or digits.

    With `is_expression` it is one, to be computed (`spec.expressions`), unless a task has the name
    that stands in `base`.
    """

    source: str
    text: str
    base: str
    path: tuple[str, ...] = ()
    default: str | None = None
    mustache: bool = False

    @property
    def is_expression(self) -> bool:
        return looks_like_expression(self.base)


Part = str | Reference
Resolve = Callable[[Reference], object]


def has_places(text: str) -> bool:
    """Whether `text` may hold anything for `parse`. Cheap, and never wrongly false."""
    return "${" in text or "{{" in text


def parse(text: str) -> tuple[Part, ...]:
    """Plain pieces (unescaped) and references, in order; no two plain pieces touch. Raises ParameterError."""
    return _parse_short(text) if len(text) <= 512 else _parse(text)


def _is_plain(text: str) -> bool:
    """Whether no token can be in it: looking for one takes 25 times as long, and an image is long."""
    return "${" not in text and "{{" not in text


def _parse(text: str) -> tuple[Part, ...]:
    if _is_plain(text):
        return (text,) if text else ()
    parts: list[Part] = []
    plain: list[str] = []
    end = 0
    for match in _TOKEN.finditer(text):
        plain.append(text[end : match.start()])
        end = match.end()
        piece = _part(match)
        if isinstance(piece, str):
            plain.append(piece)
            continue
        if before := "".join(plain):
            parts.append(before)
        plain.clear()
        parts.append(piece)
    plain.append(text[end:])
    if rest := "".join(plain):
        parts.append(rest)
    return tuple(parts)


_parse_short = lru_cache(maxsize=65_536)(_parse)


def _part(match: re.Match[str]) -> Part:
    match match.lastgroup:
        case "escape":
            return "${"
        case "literal":
            return _literal(match["literal"])
        case "inner" | "doubled" | "mustache" as braced:
            return read_reference(match[braced], match[0])
    raise ParameterError("'${' is not closed by '}' on its line; to write it as text: '$${'")


class Unreadable(Struct, frozen=True):
    """A place that keeps `parse` from reading a text, and what is wrong there."""

    source: str
    message: str


def each_of(text: str) -> Iterator[Reference | Unreadable]:
    """Everything that `parse` would find, or stop at."""
    if _is_plain(text):
        return
    for match in _TOKEN.finditer(text):
        try:
            piece = _part(match)
            if isinstance(piece, Reference):
                yield piece
        except ParameterError as error:
            rest_of_line = text[match.start() :].partition("\n")[0]
            yield Unreadable(rest_of_line if match["broken"] else match[0], error.message)


def _literal(quoted: str) -> str:
    try:
        return msgspec.json.decode(quoted, type=str)
    except msgspec.DecodeError as error:
        raise ParameterError(f"${{{quoted}}} is not a JSON string: {error}") from None


def read_reference(inner: str, source: str = "") -> Reference:
    """From `task.field`, as it stands between the braces. Raises ParameterError in words for the author."""
    text = inner.strip()
    source = source or f"${{{text}}}"
    if len(text) > LONGEST:
        raise ParameterError(f"a reference of {len(text)} characters; {LONGEST} are allowed")
    if variable := _VARIABLE.fullmatch(text):
        return Reference(source, text, "env", (variable[1],), default=variable[2])
    return _without_default(text, source)


def with_colon(reference: Reference) -> Reference | None:
    """What reads as a variable with a default, `${a:b.c}`, read as the path of a task `a:b`; None if it is none."""
    if reference.default is None:
        return None
    try:
        return _without_default(reference.text, reference.source)
    except ParameterError:
        return None


def _without_default(text: str, source: str) -> Reference:
    split = min((at for at in (text.find("."), text.find("[")) if at >= 0), default=len(text))
    base, path = text[:split].strip(), _read_path(text[split:])
    if path is None or any(_OPERATOR.search(step) for step in path):
        if looks_like_expression(text):
            return Reference(source, text, text)
        shape = "is not a reference like '${task.field}' or '${task.items[0]}'"
        raise ParameterError(f"'{source}' {shape}; to write it as text: '${source}'")
    if not base:
        raise ParameterError(f"'{source}' names nothing; to write it as text: '${source}'")
    return Reference(source, text, base, path, mustache=source.startswith("{{"))


def looks_like_expression(text: str) -> bool:
    """Whether it calculates, so that it is for CEL and no path."""
    return _OPERATOR.search(text) is not None or _SIGN_BEFORE.match(text) is not None


def _read_path(text: str) -> tuple[str, ...] | None:
    """The steps of `.a[0].b`; None if it is something else."""
    steps, at = [], 0
    while at < len(text):
        step = _STEP.match(text, at)
        if step is None:
            return None
        steps.append(step[step.lastindex or 0].strip())
        at = step.end()
    return tuple(steps) if all(steps) else None


def escape(text: str) -> str:
    """A text that `parse` reads as `text` and nothing else; `text` itself wherever that does."""
    if reads_as_itself(text):
        return text
    return re.sub(r"\$\{|\{\{", lambda match: "$${" if match[0] == "${" else '${"{{"}', text)


def reads_as_itself(text: str) -> bool:
    """Whether `parse` finds no reference in it, and nothing that is escaped."""
    try:
        return not has_places(text) or parse(text) == (text,)
    except ParameterError:
        return False


def texts_in(value: object) -> Iterator[str]:
    """Every string value (not key) below `value`, in order. Needs no call stack: depth is no matter."""
    stack = [value]
    while stack:
        top = stack.pop()
        if isinstance(top, str):
            yield top
        elif isinstance(top, dict):
            stack.extend(reversed(top.values()))
        elif isinstance(top, list):
            stack.extend(reversed(top))


def _as_it_is(value: object) -> object:
    return value


def substitute(value: object, resolve: Resolve, whole: Callable[[object], object] = _as_it_is) -> Any:
    """`value` with every reference replaced, once, by what `resolve` answers for it. What becomes part of a longer text
    is made `whole` before: no blob is left in it."""
    if isinstance(value, str):
        return _fill(parse(value), resolve, whole) if "${" in value or "{{" in value else value
    if isinstance(value, dict):
        return {key: substitute(inner, resolve, whole) for key, inner in value.items()}
    if isinstance(value, list):
        return [substitute(inner, resolve, whole) for inner in value]
    return value


def _fill(parts: tuple[Part, ...], resolve: Resolve, whole: Callable[[object], object]) -> object:
    if len(parts) == 1:
        return _value(parts[0], resolve)
    values = [whole(_value(part, resolve)) for part in parts]
    if any(isinstance(value, Hidden) for value in values):
        return _hidden(values)
    return "".join(map(as_text, values))


def _hidden(values: list[object]) -> Hidden:
    parts: list[str | Secret] = []
    for value in values:
        parts.extend(value.parts if isinstance(value, Hidden) else (as_text(value),))
    return Hidden(tuple(parts))


def _value(part: Part, resolve: Resolve) -> object:
    if isinstance(part, str):
        return part
    value = resolve(part)
    return part.source if value is AS_WRITTEN else value


def as_text(value: object) -> str:
    """How a value reads inside a longer text: a text as it is, everything else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()

"""Documents from YAML, JSON or objects: plain values, and for every path its line and column.

YAML is read event by event within bounds (size, depth, nodes, aliases, one document), so that no bomb goes off; the
booleans are true and false only, `012`, `1_000` and dates stay texts, duplicate keys are errors, all of them listed.
"""

import codecs
import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path as FilePath
from typing import Any, Final

import msgspec
import yaml

from gleitzeit.spec.loading.build import Builder, OutOfBounds, Step
from gleitzeit.spec.loading.malformed import JSON_TOKEN, LINE_BREAK, at_the_end_of, json_problem, yaml_problem
from gleitzeit.spec.loading.scalars import not_finite, plain_scalar
from gleitzeit.spec.problems import Path, Place, Problem, document_error

LIMIT_YAML_BYTES: Final = 10 * 1024 * 1024
LIMIT_JSON_BYTES: Final = 16 * 1024 * 1024
LARGE_JSON_BYTES: Final = 256 * 1024
"""Beyond it JSON is decoded in one go: the number of its values is bounded by its size alone."""


class Document:
    """`value` is what JSON can hold. `text` is empty for a document that never was one.

    `problems` are those of its keys and tags, if it was loaded in spite of them: of a key that is there twice, `value`
    has the last.
    """

    def __init__(
        self, name: str, text: str, value: object, *, is_json: bool = False, problems: tuple[Problem, ...] = ()
    ) -> None:
        self.name = name
        self.text = text
        self.value = value
        self.problems = problems
        self._is_json = is_json

    def with_value(self, value: object) -> "Document":
        """The same text, and something else that it is taken for."""
        return Document(self.name, self.text, value, is_json=self._is_json, problems=self.problems)

    @cached_property
    def lines(self) -> list[str]:
        return LINE_BREAK.split(self.text) if self.text else []

    def places(self, paths: Iterable[Path]) -> dict[Path, Place]:
        """Where the values at `paths` stand, or the nearest value above where one is missing.

        Positions are not kept: the text is read again, so that only a document with problems pays for them.
        """
        wanted = {path[:length] for path in paths for length in range(len(path) + 1)}
        if not self.text or not wanted:
            return {}
        found: dict[Path, Place] = {}
        # A text that could not be loaded has no places.
        with contextlib.suppress(OutOfBounds, yaml.YAMLError, ValueError):
            Builder(wanted=wanted, found=found).build(_steps(self.text, is_json=self._is_json))
        return {path: _nearest(path, found) for path in wanted if found}


def _nearest(path: Path, found: Mapping[Path, Place]) -> Place:
    while path not in found:
        path = path[:-1]
    return found[path]


def load_file(path: str | FilePath, *, lenient: bool = False) -> Document:
    """As `load_text`. Raises DocumentError also for a file that cannot be read."""
    try:
        with FilePath(path).open("rb") as file:
            content = file.read(LIMIT_JSON_BYTES + 1)
    except OSError as error:
        raise document_error([Problem((), f"cannot be read: {error.strerror or error}")], str(path)) from error
    return load_text(content, name=str(path), lenient=lenient)


def load_text(text: bytes | str, *, name: str = "<text>", lenient: bool = False) -> Document:
    """YAML or JSON. Raises DocumentError with all problems of the syntax, the bounds and the keys.

    `lenient` is for who checks the value as well, to tell of everything at once: as long as there is a value, it does
    not raise for problems of the keys; they are in the document's `problems`.
    """
    document = _loaded(_decoded(text, name), name)
    if document.problems and not lenient:
        raise document_error(document.problems, name)
    return document


def _loaded(text: str, name: str) -> Document:
    if (name.endswith(".json") and text.strip()) or text.lstrip()[:1] in ("{", "["):
        document = _load_json(text, name)
        if document is not None:
            return document
    if len(text) > LIMIT_YAML_BYTES:
        raise document_error([Problem((), f"larger than the {LIMIT_YAML_BYTES} bytes that YAML may have")], name)
    value, problems = _built(text, name, is_json=False)
    return Document(name, text, value, problems=problems)


def load_object(value: Mapping[str, object], *, name: str = "<object>") -> Document:
    """From Python objects. Raises DocumentError for what JSON cannot hold."""
    try:
        encoded = msgspec.json.encode(value)
        plain = msgspec.json.decode(encoded)
    except (TypeError, ValueError, RecursionError) as error:
        raise document_error([Problem((), f"cannot be written as JSON: {error}")], name) from error
    if b"null" in encoded and (path := not_finite(value)) is not None:
        message = "neither NaN nor an infinite number can be written as JSON; give null or a text in its place"
        raise document_error([Problem(path, message)], name)
    return Document(name, "", plain)


def _decoded(text: bytes | str, name: str) -> str:
    try:
        # Encoded once also where it is text: half a surrogate pair would break everything behind us.
        content = text.encode() if isinstance(text, str) else text
        if len(content) > LIMIT_JSON_BYTES:
            raise document_error([Problem((), f"larger than {LIMIT_JSON_BYTES} bytes")], name)
        return content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeEncodeError as error:
        raise document_error([_not_utf8(error.object[: error.start], "half a surrogate pair")], name) from error
    except UnicodeDecodeError as error:
        what = f"the byte 0x{error.object[error.start]:02x}"
        if error.object.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            what = "it is UTF-16; save it as UTF-8"
        raise document_error([_not_utf8(error.object[: error.start].decode(), what)], name) from error


def _not_utf8(before: str, what: str) -> Problem:
    return at_the_end_of(before, f"not UTF-8 text: {what}")


def _load_json(text: str, name: str) -> Document | None:
    """None if it is not JSON and need not be: YAML may begin with a brace too."""
    try:
        value = msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        if name.endswith(".json"):
            raise document_error([json_problem(text, error)], name) from error
        return None
    if len(text) <= LARGE_JSON_BYTES:
        value, problems = _built(text, name, is_json=True)
    else:
        problems = repeated_keys(text, name)
    return Document(name, text, value, is_json=True, problems=problems)


class _Repeated(Exception):
    """A key is there twice."""


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Repeated
    return found


_decode_once = json.JSONDecoder(object_pairs_hook=_once).decode


def repeated_keys(text: str, name: str = "<text>") -> tuple[Problem, ...]:
    """Of a text that is known to be JSON: what keys are in an object twice. It costs about what reading the text does;
    only where there are any, it is read once more for their places. Raises DocumentError where those are out of
    bounds."""
    try:
        _decode_once(text)
    except _Repeated:
        return _built(text, name, is_json=True)[1]
    return ()


def _built(text: str, name: str, *, is_json: bool) -> tuple[object, tuple[Problem, ...]]:
    """The value, and what is wrong with keys and tags. Raises DocumentError where no value comes of it."""
    builder = Builder()
    try:
        value = builder.build(_steps(text, is_json=is_json))
    except OutOfBounds as error:
        raise document_error([*builder.problems, error.problem], name) from error
    except yaml.YAMLError as error:
        raise document_error([*builder.problems, yaml_problem(error, text)], name) from error
    return value, tuple(builder.problems)


def _steps(text: str, *, is_json: bool) -> Iterator[Step]:
    return _json_steps(text) if is_json else _yaml_steps(text)


_STANDARD_TEXT: Final = (None, "!", "tag:yaml.org,2002:str")


def _yaml_steps(text: str) -> Iterator[Step]:
    """libyaml's composer dies of deep nesting; its event parser does not, and is left at the first step too deep."""
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        start, end = event.start_mark, event.end_mark
        assert start is not None, "CParser gives every event both"
        assert end is not None
        step = Step(start.line + 1, start.column + 1, end.line + 1)
        match event:
            case yaml.ScalarEvent():
                plain = not event.style and event.tag is None
                step.kind, step.text, step.anchor = "scalar", event.value, event.anchor
                step.value = plain_scalar(event.value) if plain else event.value
                step.plain, step.literal = plain, event.style == "|"
                step.bad_tag = "" if event.tag in _STANDARD_TEXT else str(event.tag)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                step.kind = "map" if isinstance(event, yaml.MappingStartEvent) else "list"
                step.anchor, step.bad_tag = event.anchor, str(event.tag or "")
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                step.kind = "end"
            case yaml.AliasEvent():
                step.kind, step.text = "alias", str(event.anchor)
            case yaml.DocumentStartEvent():
                step.kind = "document"
            case _:
                continue
        yield step


def _json_steps(text: str) -> Iterator[Step]:
    """For a text that is known to be JSON."""
    line, line_start = 1, 0
    breaks = (match.end() for match in LINE_BREAK.finditer(text))
    next_line = next(breaks, len(text) + 1)
    yield Step(1, 1, 1, "document")
    for match in JSON_TOKEN.finditer(text):
        while match.start() >= next_line:
            line, line_start, next_line = line + 1, next_line, next(breaks, len(text) + 1)
        token = match[0]
        step = Step(line, match.start() - line_start + 1, line)
        if token in "{[":
            step.kind = "map" if token == "{" else "list"
        elif token in "}]":
            step.kind = "end"
        else:
            value: Any = msgspec.json.decode(token)
            step.kind, step.value, step.text = "scalar", value, value if isinstance(value, str) else token
        yield step

"""What was typed, as values. Light: read before anything is started or imported."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from gleitzeit.model import earlier
from gleitzeit.schemas.words import near
from gleitzeit.spec.durations import parse_duration
from gleitzeit.spec.loading.load import LIMIT_JSON_BYTES, load_text
from gleitzeit.spec.tasks.settings import parse_priority
from gz_cli.exits import UsageError

STDIN = "-"


STATUSES = ("pending", "running", "paused", "completed", "failed", "cancelled")


class Source:
    """The bytes of a document; of what has no end, as many as show that it is too large. Raises OSError."""

    def __init__(self, path: Path) -> None:
        is_stdin = str(path) == STDIN
        self.name = "<stdin>" if is_stdin else str(path)
        self.folder = Path() if is_stdin else path.parent
        if is_stdin:
            self.content = sys.stdin.buffer.read(LIMIT_JSON_BYTES + 1)
        else:
            with path.open("rb") as file:
                self.content = file.read(LIMIT_JSON_BYTES + 1)


def text_or_stdin(text: str | None) -> str | None:
    """Raises UsageError for more than any request may have."""
    if text != STDIN:
        return text
    typed = sys.stdin.read(LIMIT_JSON_BYTES + 1)
    if len(typed) > LIMIT_JSON_BYTES:
        raise UsageError(f"on stdin are more than {LIMIT_JSON_BYTES} characters")
    return typed


class Inputs(Struct, frozen=True):
    """Inputs before it is known of what type they are: `values` of a file, and `texts` as they were typed."""

    texts: Mapping[str, str] = {}
    values: Mapping[str, object] = {}

    def by(self, schema: Mapping[str, Any]) -> dict[str, object]:
        """As `schema` (the JSON Schema of an object) has them; what is typed wins."""
        from gleitzeit.spec.inputs import from_texts  # with all that expressions need, which few commands do

        return {**self.values, **from_texts(schema, self.texts)}


def inputs(pairs: Sequence[str], file: Path | None = None) -> Inputs:
    """`key=value` as typed, and a file of inputs, YAML or JSON. Raises UsageError, OSError, DocumentError."""
    texts: dict[str, str] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not key or not equals:
            raise UsageError(f"an input is KEY=VALUE, not {pair!r}")
        texts[key] = text
    if file is None:
        return Inputs(texts)
    source = Source(file)
    values = load_text(source.content, name=source.name).value
    if not isinstance(values, dict):
        raise UsageError(f"{source.name}: a file of inputs is a map of their names and values")
    return Inputs(texts, values)


def statuses(words: Sequence[str]) -> list[str]:
    """Statuses of workflows as typed. Raises UsageError."""
    known = [earlier.STATUSES.get(word.lower(), word.lower()) for word in words]
    for word, status in zip(words, known, strict=True):
        if status not in STATUSES:
            meant = near(word, STATUSES)
            did_you = f"; did you mean {meant!r}?" if meant else ""
            raise UsageError(f"no workflow has the status {word!r}; there are {', '.join(STATUSES)}{did_you}")
    return known


def events(words: Sequence[str]) -> frozenset[str]:
    """Types of events as typed, by our names or earlier ones. Raises UsageError."""
    try:
        return earlier.event_types(words)
    except ValueError as error:
        raise UsageError(str(error)) from None


def with_values(inputs: Inputs, text: str | None) -> Inputs:
    """And those of a JSON object as typed. Raises UsageError."""
    if text is None:
        return inputs
    values = params(text)
    if not isinstance(values, dict):
        raise UsageError("--params is a JSON object")
    return Inputs(inputs.texts, {**inputs.values, **values})


def earlier_word(word: str, known: Sequence[str]) -> None:
    """A word that earlier versions had behind a command, and that says nothing any more. Raises UsageError."""
    if word and word not in known:
        raise UsageError(f"{word!r} is one word too many")


def params(text: str) -> object:
    """A JSON object as typed. Raises UsageError."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise UsageError(f'--params is JSON, like \'{{"message": "hi"}}\'; {error}') from None
    if not isinstance(value, dict | list):
        raise UsageError("--params is a JSON object (by name) or array (by position)")
    return value


def json_value(text: str | None) -> object:
    """A value as typed: JSON, or else text."""
    return None if text is None else _json_or_text(text)


def _json_or_text(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def priority(text: str | None) -> str | None:
    """A priority as typed. Raises UsageError."""
    if text is not None:
        try:
            parse_priority(text)
        except ValueError as error:
            raise UsageError(f"--priority {text}: it {error}") from None
    return text


def file_to_write(path: Path | None) -> Path | None:
    """Told before anything runs, if nothing can be written there. Raises UsageError."""
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise UsageError(f"{path}: no file can be written there")
    return path


def seconds(text: str | None) -> float | None:
    """A duration as typed. Raises UsageError."""
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(str(error)) from None

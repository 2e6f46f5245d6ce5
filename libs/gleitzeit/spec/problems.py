"""What is wrong with a document, where, and how it looks on a terminal."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec
from msgspec import Struct

from gleitzeit.errors import CircularDependency, DocumentError

Path = tuple[str | int, ...]

LIMIT_PROBLEMS = 1000
"""More are counted, not listed."""

SHOWN_PROBLEMS = 50
"""So many are rendered; of more than one can read the number says enough."""

_WIDEST = 160
_PICTURES = (  # of control characters but the tab
    {code: 0x2400 + code for code in range(0x20) if code != 0x09}
    | {0x7F: 0x2421}
    | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
)


class Problem(Struct, frozen=True, omit_defaults=True):
    """`path` leads to the value in the document. `line` and `column` count from 1; 0 is unknown.

    Where the problem is not the whole value: `at_key` says that it is the key, `needle` is the piece of the value's
    text that is meant, `text_line` the line (from 1) in a value of several lines; `offset`: the place so many
    characters after the beginning of either.
    `see` leads to something else, with which the message ends: its line is added when it is known.
    `code` is that of the error which has no other problems than such.
    `more` is not 0 in the one, with no place of its own, that stands for so many which are not listed.
    """

    path: Path
    message: str
    suggestion: str = ""
    severity: Literal["error", "warning"] = "error"
    line: int = 0
    column: int = 0
    at_key: bool = False
    needle: str = ""
    offset: int = 0
    text_line: int = 0
    see: Path = ()
    code: int = 0
    more: int = 0


class Place(Struct, frozen=True):
    """Where a value stands: lines and columns from 1. A list item has no key of its own: key and value coincide."""

    line: int
    column: int
    end_line: int
    key_line: int
    key_column: int
    literal: bool = False
    """A block scalar (`|`), whose lines are lines of the file, from the one after `line` on."""


class Source(Protocol):
    """What `render` needs of a document."""

    name: str

    @property
    def lines(self) -> Sequence[str]: ...
    def places(self, paths: Iterable[Path]) -> dict[Path, Place]: ...


def to_wire(problem: Problem) -> dict[str, Any]:
    """As `workflow.validate` and the data of a DocumentError carry it."""
    always = {"path": list(problem.path), "suggestion": problem.suggestion, "severity": problem.severity}
    wire: dict[str, Any] = msgspec.to_builtins(problem)
    return {**wire, **always}


def from_wire(wire: object) -> tuple[Problem, ...]:
    """The way back, from the list in a reply or in an error's data. What is no problem is left out."""
    if not isinstance(wire, list | tuple):
        return ()
    found = []
    for one in wire:
        try:
            found.append(msgspec.convert(one, Problem))
        except msgspec.ValidationError:
            continue
    return tuple(found)


def document_error(problems: Sequence[Problem], name: str = "") -> DocumentError:
    """The exception that carries `problems`, errors first in its message."""
    first = next((one for one in problems if one.severity == "error"), problems[0])
    where = ": ".join(part for part in (_place(first, name), "" if first.line else show_path(first.path)) if part)
    where += ": " if where else ""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    errors = {one.code for one in problems if one.severity == "error"}
    kind = CircularDependency if errors == {CircularDependency.code} else DocumentError
    return kind(f"{where}{sentence(first)}{more}", {"problems": [to_wire(one) for one in problems]})


def _place(problem: Problem, name: str) -> str:
    return f"{name}:{problem.line}:{problem.column}" if name and problem.line else name


def problems_of(error: DocumentError) -> tuple[Problem, ...]:
    """What `document_error` put into it."""
    return from_wire((error.data or {}).get("problems"))


def sentence(problem: Problem) -> str:
    """With what was probably meant, and the line within a text of which the document does not tell the lines."""
    message = f"{problem.message} (line {problem.text_line} of it)" if problem.text_line > 1 else problem.message
    if not problem.suggestion:
        return message
    same = _looks_the_same(problem.suggestion, problem.message)
    return f"{message} (did you mean '{problem.suggestion}'{', in another form of Unicode' if same else ''}?)"


def _looks_the_same(word: str, text: str) -> bool:
    """Whether it stands in the text, but with its accents written in another way, which nobody can see."""
    return word not in text and unicodedata.normalize("NFC", word) in unicodedata.normalize("NFC", text)


def located(problems: Iterable[Problem], document: Source) -> list[Problem]:
    """The problems with line and column, as far as the document knows them, in the order of the lines; `more` last."""
    listed = list(problems)
    wanted = [one for one in listed if not one.line and not one.more]
    places = document.places({one.path for one in wanted} | {one.see for one in wanted if one.see})
    found = [_locate(one, places, document.lines) for one in listed]
    return sorted(found, key=lambda one: (one.more > 0, one.line, one.column))


def _locate(problem: Problem, places: Mapping[Path, Place], lines: Sequence[str]) -> Problem:
    place = places.get(problem.path)
    if place is None or problem.line or problem.more:
        return problem
    message = f"{problem.message} in line {places[problem.see].line}" if problem.see else problem.message
    line, column = (place.key_line, place.key_column) if problem.at_key else (place.line, place.column)
    text_line = problem.text_line
    if problem.needle:
        found = _find(problem.needle, place, lines)
        line, column = (found[0], found[1] + problem.offset) if found is not None else (line, column)
    elif problem.text_line and place.literal and place.line + problem.text_line <= len(lines):
        line, text_line = place.line + problem.text_line, 0
        column = _indent(lines[line - 1]) + 1 + problem.offset
    return msgspec.structs.replace(problem, message=message, line=line, column=column, text_line=text_line, see=())


def _find(needle: str, place: Place, lines: Sequence[str]) -> tuple[int, int] | None:
    for number in range(place.line, min(place.end_line, len(lines)) + 1):
        at = lines[number - 1].find(needle, place.column - 1 if number == place.line else 0)
        if at >= 0:
            return number, at + 1
    return None


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def render(problems: Iterable[Problem], document: Source) -> str:
    """`file:line:column: error: …`, the line and a caret for each; without a place, the path instead.

    Of very many the first ones, errors before warnings, and at the end how many more there are.
    """
    listed = located(problems, document)
    known = [one for one in listed if not one.more]
    urgent_first = sorted(range(len(known)), key=lambda number: known[number].severity != "error")
    shown = [_render(known[number], document) for number in sorted(urgent_first[:SHOWN_PROBLEMS])]
    if more := sum(one.more or 1 for one in listed) - len(shown):
        shown.append(f"{document.name}: {more:,} more problem{'s are' if more > 1 else ' is'} not shown")
    return "\n".join(shown)


def _render(problem: Problem, document: Source) -> str:
    if not problem.line:
        where = show_path(problem.path)
        return f"{document.name}: {problem.severity}: {where + ': ' if where else ''}{sentence(problem)}"
    head = f"{document.name}:{problem.line}:{problem.column}: {problem.severity}: {sentence(problem)}"
    if problem.line > len(document.lines):
        return head
    number = f"{problem.line:>5}"
    text, caret = _window(document.lines[problem.line - 1], problem.column)
    return f"{head}\n{number} | {text}\n{' ' * len(number)} | {caret}"


def _window(line: str, column: int) -> tuple[str, str]:
    """The line, or of a very long one the part around `column`, and a line with the caret below it."""
    start = max(0, column - 1 - _WIDEST // 2) if len(line) > _WIDEST else 0
    text = line[start : start + _WIDEST]
    before = text[: column - 1 - start]
    # Tabs keep their width only above tabs; what a terminal would obey is shown as a picture of it.
    return text.translate(_PICTURES), "".join("\t" if char == "\t" else " " * _cells(char) for char in before) + "^"


def _cells(char: str) -> int:
    """How many columns of a terminal it takes."""
    if char.isascii():
        return 1
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def show_path(path: Path) -> str:
    """`tasks[3].params.message`"""
    shown = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return shown.removeprefix(".")

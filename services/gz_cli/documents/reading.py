"""Documents as commands take them, with every problem rendered for a person."""

import os
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from gleitzeit.client import Defaults, Prepared, prepare
from gleitzeit.errors import DocumentError
from gleitzeit.schemas import Catalogue
from gleitzeit.spec.inputs import inputs_of
from gleitzeit.spec.loading.load import Document, load_text
from gleitzeit.spec.problems import Path, Problem, located, problems_of, render
from gz_cli.terminal.talk import say
from gz_cli.typed import Inputs, Source


class Checked(Struct, frozen=True):
    """A document that somebody has looked at. `ready` is None if it cannot be run."""

    document: Document
    problems: tuple[Problem, ...]
    ready: Prepared | None


def checked(
    source: Source,
    defaults: Defaults | None = None,
    *,
    inputs: Mapping[str, object] | None = None,
    priority: str | None = None,
    catalogue: Catalogue | None = None,
) -> Checked:
    """Loaded, completed and checked; nothing is said.

    `inputs` are those that it will be submitted with, None if nobody knows yet. `catalogue` is what is known of
    methods, by default those that ship with us. `priority` goes before the one of the document.
    """
    try:
        document = load_text(source.content, name=source.name, lenient=True)
    except DocumentError as error:
        document = Document(source.name, source.content.decode(errors="replace"), None)
        return Checked(document, tuple(located(problems_of(error), document)), None)
    if priority is not None:
        document = _with_priority(document, priority)
    ready = prepare(
        document,
        folder=source.folder,
        environ=os.environ,
        catalogue=catalogue,
        defaults=defaults or Defaults(),
        inputs=inputs,
    )
    return Checked(document, ready.problems, ready if ready.checked is not None else None)


def with_problems(found: Checked, more: Iterable[Problem]) -> Checked:
    """And what others have found wrong with it."""
    problems = (*found.problems, *located(more, found.document))
    wrong = any(problem.severity == "error" for problem in problems)
    return Checked(found.document, problems, None if wrong else found.ready)


def prepared(
    source: Source,
    defaults: Defaults | None = None,
    *,
    inputs: Mapping[str, object] | None = None,
    warn: bool = True,
    priority: str | None = None,
) -> Prepared | None:
    """As `checked`, and what is wrong is said on stderr. None if that forbids to run it.

    Without `warn` nothing is said of a document that can be run: a coordinator will be asked, which knows the methods
    of its providers.
    """
    found = checked(source, defaults, inputs=inputs, priority=priority)
    if warn or found.ready is None:
        say_found(found)
    return found.ready


def say_found(found: Checked) -> None:
    """Every problem with its line; and how many there are, if they forbid to run it."""
    if found.problems:
        say(render(found.problems, found.document))
    if found.ready is None:
        say(_summary(found.problems))


def _with_priority(document: Document, priority: str) -> Document:
    """What is no workflow stays as it is: the check will say so."""
    value = document.value
    if not isinstance(value, dict):
        return document
    inner = value.get("workflow")
    if len(value) == 1 and isinstance(inner, dict):
        return document.with_value({"workflow": {**inner, "priority": priority}})
    return document.with_value({**value, "priority": priority})


def typed_by_document(source: Source, given: Inputs) -> dict[str, object]:
    """Inputs that were typed, as the document declares them. What is wrong with it or them `prepared` will say."""
    if not given.texts:
        return given.by({})
    try:
        document = load_text(source.content, name=source.name, lenient=True).value
    except DocumentError:
        return given.by({})
    return given.by(inputs_of(document))


def say_problems(error: DocumentError, document: Document, below: Path = ()) -> None:
    """What a coordinator, or the loader, found wrong: with the lines that only we have. `below`: see `beneath`."""
    problems = located(beneath(below, problems_of(error)), document)
    if not problems:
        say(error.message)
        return
    say(render(problems, document))
    say(_summary(problems))


def beneath(place: Path, problems: Iterable[Problem]) -> list[Problem]:
    """The problems as they look to somebody who has written only what stands at `place`."""
    return [replace(one, path=one.path[len(place) :]) if one.path[: len(place)] == place else one for one in problems]


def _summary(problems: Sequence[Problem]) -> str:
    """`2 errors, 1 warning`"""
    wrong = sum(problem.severity == "error" for problem in problems)
    counted = [(wrong, "error"), (len(problems) - wrong, "warning")]
    return ", ".join(f"{number} {word}{'s' * (number != 1)}" for number, word in counted if number)

"""Documents as commands take them, with every problem rendered for a person."""

import os

from gleitzeit.client import Prepared, prepare
from gleitzeit.errors import DocumentError
from gleitzeit.spec.load import Document, load_text
from gleitzeit.spec.problems import located, problems_of, render
from gz_cli.talk import say
from gz_cli.typed import Source


def prepared(source: Source) -> Prepared | None:
    """Loaded, completed and checked. What is wrong is said on stderr; None if that forbids to run it."""
    try:
        document = load_text(source.content, name=source.name)
    except DocumentError as error:
        text = source.content.decode(errors="replace")
        say_problems(error, Document(source.name, text, None))
        return None
    ready = prepare(document, folder=source.folder, environ=os.environ)
    if ready.problems:
        say(ready.rendered())
    if ready.checked is None:
        say(summary(len(ready.errors), len(ready.warnings)))
        return None
    return ready


def say_problems(error: DocumentError, document: Document) -> None:
    """What a coordinator, or the loader, found wrong: with the lines that only we have."""
    problems = located(problems_of(error), document)
    if not problems:
        say(error.message)
        return
    say(render(problems, document))
    wrong = sum(problem.severity == "error" for problem in problems)
    say(summary(wrong, len(problems) - wrong))


def summary(errors: int, warnings: int) -> str:
    """`2 errors, 1 warning`"""
    counted = [(errors, "error"), (warnings, "warning")]
    return ", ".join(f"{number} {word}{'s' * (number != 1)}" for number, word in counted if number)

"""What a task writes as a command, as the words of a program. Pure."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from gleitzeit.errors import InvalidParams, TaskError
from gleitzeit.process.children import filtered_environment, variables
from gleitzeit.spec.references.words import split

SHELL: Final = "/bin/sh"


def words_of(command: object, args: object = (), *, shell: bool = False) -> tuple[str, ...]:
    """A list is taken as it is. A text is split at spaces, quotes minded; no shell sees it, unless that is asked for.

    Raises InvalidParams.
    """
    more = _list("args", args)
    if shell:
        if not isinstance(command, str):
            raise InvalidParams("with shell: true the command is one text")
        return (SHELL, "-c", command, SHELL, *more)
    words = _split(command) if isinstance(command, str) else _list("command", command)
    if not words or not words[0]:
        raise InvalidParams("the command is empty")
    return (*words, *more)


def _split(line: str) -> list[str]:
    try:
        return split(line)
    except ValueError as error:
        raise InvalidParams(str(error)) from None


def _list(what: str, value: object) -> list[str]:
    if not isinstance(value, list | tuple):
        raise InvalidParams(f"{what} is a list of words")
    return [_word(what, one) for one in value]


def _word(what: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InvalidParams(f"{what}: a word is a text or a number, not {str(value)[:60]!r}")
    text = str(value)
    if "\0" in text:
        raise InvalidParams(f"{what}: no word may hold a zero byte")
    return text


def environment(inherited: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, str]:
    """Nothing of the provider's environment but what every program expects, and what the task asks for."""
    return filtered_environment(inherited, add=variables(given, "env"))


def check_allowed(words: tuple[str, ...], allowed: Collection[str]) -> None:
    """Raises TaskError if only some programs are, and this is none of them. By its name, without a folder."""
    if allowed and words[0] not in allowed and not (words[0] == SHELL and Path(SHELL).name in allowed):
        named = ", ".join(sorted(allowed))
        raise TaskError(f"this provider runs only {named}, not {Path(words[0])}", retryable=False)

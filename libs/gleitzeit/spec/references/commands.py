"""Commands with references: split into words before anything is filled in, so that no value becomes two of them."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import PurePath
from typing import Any, Final

from gleitzeit.errors import ParameterError
from gleitzeit.spec.findings import Findings
from gleitzeit.spec.problems import Path
from gleitzeit.spec.references.references import Reference, escape, has_places, parse, texts_in
from gleitzeit.spec.references.words import split

PROTOCOL: Final = "shell/"
_PLACE = re.compile("\ue000(\\d+)\ue001")
_SHELLS: Final = ("sh", "bash", "dash", "ksh", "zsh")
_HAS_PROGRAM: Final = re.compile("-[a-z]*c[a-z]*")


def read_commands(params: dict[str, Any], findings: Findings, at: Path) -> dict[str, Any]:
    """The params of a shell/* task with their commands as lists of words, where there are references in them.

    `at` is where the params stand. With `shell: true` a reference in a command is an error: what it stands for would
    be read as a program.
    """
    if params.get("shell") is True:
        for key in ("command", "commands"):
            if any(has_places(text) for text in texts_in(params.get(key))):
                message = (
                    "with shell: true what a reference stands for would be run as a program; put it into 'env' "
                    'and write "$NAME" in the command'
                )
                findings.error((*at, key), message)
        return params
    if "command" in params:
        params = {**params, "command": _command(params["command"], findings, (*at, "command"))}
    if isinstance(commands := params.get("commands"), list):
        read = [_command(one, findings, (*at, "commands", index)) for index, one in enumerate(commands)]
        params = {**params, "commands": read}
    return params


def _command(command: object, findings: Findings, at: Path) -> object:
    words = _words(command, findings, at) if isinstance(command, str) else command
    if isinstance(words, list):
        _check_shell([word for word in words if isinstance(word, str)], findings, at)
    return words


def _check_shell(words: Sequence[str], findings: Findings, at: Path) -> None:
    """Who calls a shell by its name gets one, and is told what a reference means to it."""
    if not words or PurePath(words[0]).name not in _SHELLS:
        return
    for option, program in pairwise(words[1:]):
        if _HAS_PROGRAM.fullmatch(option) and any(isinstance(part, Reference) for part in parse(program)):
            message = (
                f"{words[0]} runs what a reference stands for as a program; put it into 'env' and write \"$NAME\" "
                "in the command"
            )
            findings.warning(at, message)


def _words(line: str, findings: Findings, at: Path) -> object:
    try:
        parts = parse(line) if has_places(line) else (line,)
    except ParameterError:
        return line  # will be reported where all references are
    references = [part for part in parts if isinstance(part, Reference)]
    if len(parts) == len(references) == 1:
        findings.warning(at, f"{references[0].source} decides alone which program runs")
        return line
    numbers = iter(range(len(references)))
    marked = "".join(part if isinstance(part, str) else f"\ue000{next(numbers)}\ue001" for part in parts)
    try:
        words = ["".join(_filled(word, references)) for word in split(marked)]
    except ValueError as error:
        findings.error(at, str(error))
        return line
    return words if has_places(line) else line


def _filled(word: str, references: list[Reference]) -> Iterator[str]:
    for number, piece in enumerate(_PLACE.split(word)):
        yield references[int(piece)].source if number % 2 else escape(piece)

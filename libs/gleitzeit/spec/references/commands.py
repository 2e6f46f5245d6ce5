"""Commands with references: split into words before anything is filled in, so that no value becomes two of them."""

import re
import shlex
from collections.abc import Iterator
from typing import Any, Final

from gleitzeit.errors import ParameterError
from gleitzeit.spec.findings import Findings
from gleitzeit.spec.problems import Path
from gleitzeit.spec.references.references import Reference, escape, has_places, parse, texts_in

PROTOCOL: Final = "shell/"
_PLACE = re.compile("\ue000(\\d+)\ue001")


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
    if isinstance(command := params.get("command"), str):
        params = {**params, "command": _words(command, findings, (*at, "command"))}
    if isinstance(commands := params.get("commands"), list):
        split = [
            _words(one, findings, (*at, "commands", index)) if isinstance(one, str) else one
            for index, one in enumerate(commands)
        ]
        params = {**params, "commands": split}
    return params


def _words(line: str, findings: Findings, at: Path) -> object:
    if not has_places(line):
        return line
    try:
        parts = parse(line)
    except ParameterError:
        return line  # will be reported where all references are
    references = [part for part in parts if isinstance(part, Reference)]
    if len(parts) == len(references) == 1:
        findings.warning(at, f"{references[0].source} decides alone which program runs")
        return line
    numbers = iter(range(len(references)))
    marked = "".join(part if isinstance(part, str) else f"\ue000{next(numbers)}\ue001" for part in parts)
    try:
        return ["".join(_filled(word, references)) for word in shlex.split(marked)]
    except ValueError as error:
        findings.error(at, f"the command cannot be split into words: {error}")
        return line


def _filled(word: str, references: list[Reference]) -> Iterator[str]:
    for number, piece in enumerate(_PLACE.split(word)):
        yield references[int(piece)].source if number % 2 else escape(piece)

"""How a command ends that typer would end otherwise: a word that is no choice is told with the one that was meant."""

import re
from typing import Any

import typer
from typer.core import TyperGroup

BROKEN_PIPE = 141
"""Who read our output has gone (`gz list | head -1`): what a shell says of programs that SIGPIPE ends."""
_BEFORE = "Value error, "
"""Of the library that converts, and of no use to anybody."""
_QUOTED = re.compile(r"'([^']*)'")


class Commands(TyperGroup):
    """The commands of `gz`."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = clearer(error.message)
            raise
        except BrokenPipeError:
            raise typer.Exit(BROKEN_PIPE) from None


def clearer(message: str) -> str:
    """Of "Value error, 'jso' is not one of 'text', 'json'."; others are left as they are."""
    message = message.removeprefix(_BEFORE)
    if " is not one of " not in message:
        return message
    word, *choices = _QUOTED.findall(message)
    from gleitzeit.schemas.words import near  # only after a mistake

    meant = near(word, choices)
    return f"{message.rstrip('.')}; did you mean {meant!r}?" if meant else message

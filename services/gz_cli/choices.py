"""What typer would tell otherwise: the commands of a group, a word that is no choice, and a path that is none."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup
from typer.models import TyperPath

_BEFORE = "Value error, "
"""Of the library that converts, and of no use to anybody."""
_NEVER_CUT = 1000
_MAY_BE_EMPTY = ("VALUE", "COMMAND", "PROMPT", "CODE")
"""Arguments that name nothing."""
_QUOTED = re.compile(r"'([^']*)'")


SECTIONS = {
    "Run": ("run", "submit", "chat", "batch", "call"),
    "The stack": ("up", "down", "status"),
    "Look at workflows": ("list", "get", "result", "watch", "history", "explain", "diff"),
    "Change workflows": (
        *("cancel", "pause", "resume", "hold", "retry", "rerun"),
        *("signal", "approve", "delete"),
    ),
    "Documents": ("init", "validate", "graph", "schema", "template", "schedule"),
    "Providers": ("providers", "protocols", "models", "mcp", "secret", "drain"),
}
"""Of `gz --help`, with their commands; what is in none stands below `Others`."""


class WithEarlierWords(TyperCommand):
    """A command that takes words which only earlier versions had: its usage does not tell of them."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        told = [param for param in self.get_params(ctx) if not getattr(param, "hidden", False)]
        pieces = [piece for param in told for piece in param.get_usage_pieces(ctx)]
        return [self.options_metavar, *pieces] if self.options_metavar else pieces


class Group(TyperGroup):
    """Commands of which the help tells the whole first sentence, in as many lines as it takes."""

    suggest_commands = False

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Of a word that is no command those are suggested that its help tells of, not what earlier versions had."""
        told = [name for name, command in self.commands.items() if not command.hidden]
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            from gleitzeit.schemas.words import near  # only after a mistake

            meant = near(args[0], told)
            ctx.fail(f"No such command {args[0]!r}" + (f"; did you mean {meant!r}?" if meant else ""))
        name, command, words = super().resolve_command(ctx, args)
        if isinstance(command, TyperCommand):
            _refuse_nothing(command, ctx, words)
        return name, command, words

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        self._tell(formatter, {"Commands": [name for name, command in self.commands.items() if not command.hidden]})

    def _tell(self, formatter: Any, sections: Mapping[str, Sequence[str]]) -> None:
        width = max(len(name) for names in sections.values() for name in names)
        for title, names in sections.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), _sentence(self.commands[name])) for name in names])


class Commands(Group):
    """The commands of `gz`."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        told = {name for names in SECTIONS.values() for name in names}
        others = [name for name, command in self.commands.items() if name not in told and not command.hidden]
        self._tell(formatter, {**SECTIONS, "Others": others})

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return list(super().parse_args(ctx, args))
        except BrokenPipeError:  # of --help
            raise _nobody_reads() from None

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = clearer(error.message)
            raise
        except BrokenPipeError:
            raise _nobody_reads() from None


def _nobody_reads() -> typer.Exit:
    from gz_cli.exits import BROKEN_PIPE  # seldom needed, and not light

    return typer.Exit(BROKEN_PIPE)


def _refuse_nothing(command: TyperCommand, ctx: Any, words: Sequence[str]) -> None:
    """A variable of the shell that is not set must mean neither the current folder, as an empty path does in Python,
    nor all there are, as if nothing was named."""
    if all(word.rpartition("=")[2].strip() for word in words):
        return
    within = command.context_class(command, parent=ctx, info_name=command.name, resilient_parsing=True)
    given, _, _ = command.make_parser(within).parse_args(list(words))
    for param in command.params:
        named = isinstance(param.type, TyperPath) or (
            isinstance(param, TyperArgument) and param.metavar not in _MAY_BE_EMPTY
        )
        value = given.get(str(param.name))
        texts = value if isinstance(value, list | tuple) else [value]
        if named and any(isinstance(text, str) and not text.strip() for text in texts):
            from gz_cli.exits import UsageError  # only after a mistake

            called = param.metavar if isinstance(param, TyperArgument) else max(param.opts, key=len)
            what = (called or str(param.name)).removesuffix("…")
            raise UsageError(f"{what} is empty: is a variable not set? `{within.command_path} -h` says what it takes")


def _sentence(command: Any) -> str:
    return str(command.get_short_help_str(_NEVER_CUT))


def clearer(message: str) -> str:
    """Of "Value error, 'jso' is not one of 'text', 'json'."; others are left as they are."""
    message = message.removeprefix(_BEFORE).replace("is not a valid int range", "is no whole number")
    if " is not one of " not in message:
        return message
    word, *choices = _QUOTED.findall(message)
    from gleitzeit.schemas.words import near  # only after a mistake

    meant = near(word, choices)
    return f"{message.rstrip('.')}; did you mean {meant!r}?" if meant else message

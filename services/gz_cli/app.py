"""The command line: which file of `commands` a call needs, and all of them for who asks what there is.

What a command does is imported when it is called, because `gz --help` and the completion of a shell must not wait for
sockets and schemas to be imported. Each file of `commands` is one group; importing it adds its commands to `app`, and
typer looks at every option of every command that was added: of sixty commands one is called.
"""

import copy
import importlib
import inspect
import os
from collections.abc import Sequence
from typing import Any

import typer

from gz_cli.root import app

COMPLETE = "_GZ_COMPLETE"
"""Set by a shell that wants to know how a line may go on."""
HELP = ("--help", "-h")

FILES = {
    "running": ("run", "submit", "chat", "up", "down"),
    "batching": ("batch",),
    "looking": ("status", "list", "get", "result", "watch", "history", "explain"),
    "changing": ("cancel", "pause", "resume", "hold", "delete", "retry", "rerun", "diff", "signal", "approve"),
    "templates": ("template",),
    "schedules": ("schedule",),
    "mcp": ("mcp",),
    "secrets": ("secret",),
    "checking": ("validate", "graph", "init", "schema"),
    "system": ("providers", "drain", "models", "protocols", "call", "completion"),
    "journal": ("journal",),
    "earlier": (),
}
"""The order is that of `gz --help`. What is named here stands in that file alone; for all other words every file is
imported."""
_FILE_OF = {word: file for file, words in FILES.items() for word in words}


def app_for(arguments: Sequence[str]) -> typer.Typer:
    """With at least the command that is called; with all where none is, or one that nobody knows."""
    called = next((word for word in arguments if not word.startswith("-")), "")
    if called in _FILE_OF and COMPLETE not in os.environ:
        importlib.import_module(f"gz_cli.commands.{_FILE_OF[called]}")
        return app
    every = complete()
    return _named(every) if COMPLETE not in os.environ and set(arguments) <= set(HELP) else every


def complete() -> typer.Typer:
    """With every command."""
    for file in FILES:
        importlib.import_module(f"gz_cli.commands.{file}")
    return app


def _named(whole: typer.Typer) -> typer.Typer:
    """For a help that tells what commands there are: without their options, which take longer than all the rest."""
    short = copy.copy(whole)
    short.registered_commands = [_without_options(info) for info in whole.registered_commands]
    short.registered_groups = [copy.copy(info) for info in whole.registered_groups]
    for group in short.registered_groups:
        group.typer_instance = copy.copy(group.typer_instance)
        assert group.typer_instance is not None
        group.typer_instance.registered_commands = []
    return short


def _without_options(info: Any) -> Any:
    short = copy.copy(info)
    short.name = info.name or info.callback.__name__.replace("_", "-")
    short.help = info.help or inspect.getdoc(info.callback)
    short.callback = _nothing
    return short


def _nothing() -> None:
    """In the place of a command that is only told of."""

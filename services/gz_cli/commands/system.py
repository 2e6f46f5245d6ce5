"""The commands about the coordinator and its providers."""

from enum import StrEnum
from typing import Annotated

import typer

from gz_cli import completing
from gz_cli.choices import WithEarlierWords
from gz_cli.formats import Format
from gz_cli.options import Output, Provider, State, Timeout, Url
from gz_cli.root import app, ask, call_task_method, config_app, leave


class Shell(StrEnum):
    """Those that can complete."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"


@app.command(cls=WithEarlierWords)
def providers(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Only this one: a name, or an instance.")] = "",
    earlier: Annotated[str, typer.Argument(hidden=True)] = "",
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """The providers that the coordinator knows, and what they do."""
    from gz_cli import launch, typed
    from gz_cli.configuration import settings

    if name in ("list", "health", "discover", "inspect"):
        name, earlier = earlier, ""
    typed.earlier_word(earlier, ())
    reach = launch.running(settings.target(url, state))
    from gz_cli.queries import system

    ask(reach, lambda client: system.providers(client, output, name))


@app.command()
def completion(
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh, fish or powershell.")],
) -> None:
    """Print what makes a shell complete `gz`: eval "$(gz completion bash)"."""
    import os

    from gz_cli.app import COMPLETE

    os.environ[COMPLETE] = f"source_{shell.value}"  # so a shell asks, and typer answers
    app([], prog_name="gz")


@app.command()
def drain(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A provider, or one instance: as `gz providers` says.")],
    undo: Annotated[bool, typer.Option("--undo", help="Let it have calls again.")] = False,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """Send no new calls to a provider; what runs there is finished. It holds until `gz drain NAME --undo`."""
    from gz_cli import launch
    from gz_cli.configuration import settings

    reach = launch.running(settings.target(url, state))
    from gz_cli.queries import system

    ask(reach, lambda client: system.drain(client, name, output, undo=undo))


@app.command()
def models(output: Output = Format.TEXT, provider: Provider = None, url: Url = None, state: State = None) -> None:
    """The models that can be asked, of every provider: of those that run, else of what this machine has."""
    from gz_cli import launch
    from gz_cli.configuration import settings

    reach = launch.running_or_undecided(settings.target(url, state, provider))
    from gz_cli.queries import models

    leave(models.list_models(reach, output))


@app.command(cls=WithEarlierWords)
def protocols(
    protocol: Annotated[
        str | None,
        typer.Argument(
            metavar="PROTOCOL",
            help="Its methods, as python, or all of one, as llm/chat.",
            autocompletion=completing.protocols,
        ),
    ] = None,
    name: Annotated[str | None, typer.Argument(hidden=True)] = None,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """The protocols that tasks can use, the methods of one, or what one method takes and gives."""
    from gz_cli import launch, typed
    from gz_cli.configuration import settings

    if protocol in ("list", "show", "methods"):
        protocol, name = name, None
    typed.earlier_word(name or "", ())
    reach = launch.running_or_started(settings.target(url, state))
    from gz_cli.queries import protocols as known

    if protocol is None:
        ask(reach, lambda client: known.protocols(client, output))
    ask(reach, lambda client: known.protocol(client, protocol, output))


@app.command()
def call(
    method: Annotated[
        str,
        typer.Argument(
            metavar="METHOD",
            help="system.status, or a task's: echo/echo, python/eval …",
            autocompletion=completing.methods,
        ),
    ],
    params: Annotated[str, typer.Option("--params", metavar="JSON", help="An object.")] = "{}",
    timeout: Timeout = None,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """Call one method and print the answer. A task's method becomes a workflow of one task."""
    from gz_cli import launch, typed
    from gz_cli.configuration import settings

    value = typed.params(params)
    if "/" in method:
        call_task_method(method, value, timeout, output, url, state)
    from gz_cli.queries import system

    limit, reach = typed.seconds(timeout), launch.running_or_started(settings.target(url, state))
    ask(reach, lambda client: system.call(client, method, value, limit, output))


@config_app.callback(invoke_without_command=True)
def config(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        config_show(Format.TEXT)


@config_app.command("show")
def config_show(output: Output = Format.TEXT) -> None:
    """The configuration in force, and where each value comes from."""
    from gz_cli.configuration import settings

    leave(settings.show(output))

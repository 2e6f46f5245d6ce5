"""The commands about the coordinator and its providers."""

from typing import Annotated

import typer

from gz_cli.formats import Format
from gz_cli.options import Output, Provider, State, Timeout, Url
from gz_cli.root import app, ask, config_app, leave


@app.command()
def providers(output: Output = Format.TEXT, url: Url = None, state: State = None) -> None:
    """The providers that the coordinator knows, and what they do."""
    from gz_cli import launch, queries, settings

    ask(launch.running(settings.target(url, state)), lambda client: queries.providers(client, output))


@app.command()
def models(output: Output = Format.TEXT, provider: Provider = None, url: Url = None, state: State = None) -> None:
    """The models that can be asked, of every provider: of those that run, else of what this machine has."""
    from gz_cli import launch, settings

    reach = launch.running_or_undecided(settings.target(url, state, provider))
    from gz_cli import model_list

    leave(model_list.list_models(reach, output))


@app.command()
def protocols(
    protocol: Annotated[
        str | None, typer.Argument(metavar="[PROTOCOL]", help="Show its methods, for example python/v1.")
    ] = None,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """The protocols that tasks can use, or the methods of one."""
    from gz_cli import launch, queries, settings

    reach = launch.running_or_started(settings.target(url, state))
    ask(reach, lambda client: queries.protocols(client, protocol, output))


@app.command()
def call(
    method: Annotated[
        str, typer.Argument(metavar="METHOD", help="system.status, or a task's: echo/echo, python/eval …")
    ],
    params: Annotated[str, typer.Option("--params", metavar="JSON", help="An object.")] = "{}",
    timeout: Timeout = None,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """Call one method and print the answer. A task's method becomes a workflow of one task."""
    from gz_cli import launch, settings, typed

    value, limit = typed.params(params), typed.seconds(timeout)
    target = settings.target(url, state)
    if "/" not in method:
        from gz_cli import queries

        reach = launch.running_or_started(target)
        ask(reach, lambda client: queries.call(client, method, value, limit, output))
    from gz_cli import starts, waits  # as in run

    how = waits.Wait(output, limit, quiet=True, hold_when_interrupted=True)
    leave(starts.call_task_method(launch.for_document(target, method.encode()), method, value, how))


@config_app.command("show")
def config_show(output: Output = Format.TEXT) -> None:
    """The configuration in force, and where each value comes from."""
    from gz_cli import settings

    leave(settings.show(output))

"""The commands that look at workflows."""

from typing import Annotated

import typer

from gz_cli.formats import Format
from gz_cli.options import Backend, Events, Id, Output, State, Timeout, Url
from gz_cli.root import app, ask


@app.command()
def status(
    id: Annotated[str | None, typer.Argument(metavar="ID", help="A workflow; without it, the coordinator.")] = None,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
    backend: Backend = None,
) -> None:
    """How the coordinator, or one workflow, is doing."""
    from gz_cli import launch
    from gz_cli.configuration import settings

    target = settings.target(url, state)
    reach = launch.running(target) if id is None else launch.running_or_journal(target)
    if id is None:
        from gz_cli.queries import system

        ask(reach, lambda client: system.status(client, output))
    from gz_cli.queries import workflows

    ask(reach, lambda client: workflows.status(client, id, output))


def system_status(output: Output = Format.TEXT, url: Url = None, state: State = None) -> None:
    """How the coordinator is doing."""
    status(None, output, url, state)


@app.command("list")
def list_workflows(
    status: Annotated[
        list[str] | None, typer.Option("--status", metavar="STATUS", help="Only these; may be repeated.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Only workflows of this name.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, max=1000, help="At most so many.")] = 20,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """The workflows, newest first."""
    from gz_cli import launch, typed
    from gz_cli.configuration import settings

    statuses = typed.statuses(status or ())
    reach = launch.running_or_journal(settings.target(url, state))
    from gz_cli.queries import workflows

    ask(reach, lambda client: workflows.listed(client, statuses, name, limit, output))


@app.command()
def get(
    id: Id,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
    items: Annotated[str, typer.Option(metavar="TASK", help="The items of this for_each or matrix instead.")] = "",
) -> None:
    """A workflow with all its tasks."""
    from gz_cli import launch
    from gz_cli.configuration import settings

    reach = launch.running_or_journal(settings.target(url, state))
    from gz_cli.queries import workflows

    ask(reach, lambda client: workflows.one(client, id, output, items))


@app.command()
def result(
    id: Id,
    task: Annotated[str | None, typer.Argument(metavar="TASK", help="Only this task's result.")] = None,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """What a workflow, or one of its tasks, answered."""
    from gz_cli import launch
    from gz_cli.configuration import settings

    reach = launch.running_or_journal(settings.target(url, state))
    from gz_cli.queries import workflows

    ask(reach, lambda client: workflows.result(client, id, task, output))


@app.command()
def watch(
    id: Id,
    event: Events = None,
    timeout: Timeout = None,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """Show a workflow until it has ended. -o json prints its events on stdout, one a line."""
    from gz_cli import launch, typed
    from gz_cli.configuration import settings

    limit, wanted = typed.seconds(timeout), typed.events(event or ())
    reach = launch.running_or_journal(settings.target(url, state))
    from gz_cli.following import waits  # as in run

    ask(reach, lambda client: waits.watch(client, id, waits.Wait(output, limit), wanted))


@app.command()
def history(id: Id, event: Events = None, output: Output = Format.TEXT, url: Url = None, state: State = None) -> None:
    """Everything that happened to a workflow, as the journal has it."""
    from gz_cli import launch, typed
    from gz_cli.configuration import settings

    wanted = sorted(typed.events(event or ()))
    reach = launch.running_or_journal(settings.target(url, state))
    from gz_cli.queries import workflows

    ask(reach, lambda client: workflows.history(client, id, output, wanted))


@app.command()
def explain(
    id: Id,
    task: Annotated[str | None, typer.Argument(metavar="TASK", help="Only this task.")] = None,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """Why the tasks of a workflow stand where they stand."""
    from gz_cli import launch
    from gz_cli.configuration import settings

    reach = launch.running_or_journal(settings.target(url, state))
    from gz_cli.queries import workflows

    ask(reach, lambda client: workflows.explain(client, id, task, output))

"""The commands that change the course of a workflow."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gz_cli.formats import Format
from gz_cli.options import Id, Inputs, Output, State, Timeout, Url
from gz_cli.root import app, ask

if TYPE_CHECKING:
    from gleitzeit.client.coordinator import Coordinator
    from gleitzeit.client.views import State as WorkflowState


@app.command()
def cancel(
    id: Id,
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="For the journal.")] = None,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """End a workflow: nothing more starts, and what runs is stopped."""
    change(id, output, url, state, lambda client, whole: client.cancel(whole, reason=reason))


@app.command()
def pause(id: Id, output: Output = Format.TEXT, url: Url = None, state: State = None) -> None:
    """Start nothing more of a workflow; what runs goes on."""
    change(id, output, url, state, lambda client, whole: client.pause(whole))


@app.command()
def resume(
    id: Id,
    watch: Annotated[bool, typer.Option("--watch", help="Show it until it has ended.")] = False,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """Let a paused, held or interrupted workflow go on."""
    change(id, output, url, state, lambda client, whole: client.resume(whole), watch=watch)


@app.command()
def hold(id: Id, output: Output = Format.TEXT, url: Url = None, state: State = None) -> None:
    """Start nothing more of a workflow until it is resumed, or until the next `gz up`."""
    change(id, output, url, state, lambda client, whole: client.hold(whole))


@app.command()
def delete(id: Id, output: Output = Format.TEXT, url: Url = None, state: State = None) -> None:
    """Forget a workflow that has ended, with everything that is kept of it."""
    from gz_cli import launch
    from gz_cli.configuration import settings

    reach = launch.running_or_journal(settings.target(url, state))
    from gz_cli.changing import changes

    ask(reach, lambda client: changes.delete(client, id, output))


@app.command()
def retry(
    id: Id,
    task: Annotated[str | None, typer.Argument(metavar="TASK", help="Only this task and what waits for it.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show it until it has ended.")] = False,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """Run again what failed, was skipped or cancelled."""
    change(id, output, url, state, lambda client, whole: client.retry(whole, task), watch=watch)


@app.command()
def rerun(
    id: Id,
    from_task: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="TASK", help="Run this task, or item (TASK[3]), in any case, whatever it came to."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An input, or TASK.PARAM, to be different. May be repeated."),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Print the id and leave; the workflow goes on.")
    ] = False,
    timeout: Timeout = None,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """Run a workflow once more, as a new one. A task whose params are what they were takes the result that it had."""
    from gz_cli import launch, typed
    from gz_cli.changing import reruns
    from gz_cli.configuration import settings
    from gz_cli.following import waits

    changes, how = typed.inputs(set_ or []), waits.Wait(output, typed.seconds(timeout))
    reach = launch.running_or_journal(settings.target(url, state))
    ask(reach, lambda client: reruns.rerun(client, id, from_task, changes, how, detach=detach))


@app.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A workflow, as for any command.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """In what two workflows differ, task by task. Exits with 1 if they do."""
    from gz_cli import launch
    from gz_cli.configuration import settings

    reach = launch.running_or_journal(settings.target(url, state))
    from gz_cli.changing import reruns

    ask(reach, lambda client: reruns.diff(client, a, b, output))


@app.command()
def signal(
    id: Id,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What a signal/wait task waits for.")],
    payload: Annotated[
        str | None, typer.Option("--payload", metavar="VALUE", help="A value for it: JSON, or else text.")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--idempotency-key", metavar="KEY", help="The same key is the same signal.")
    ] = None,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """Send a signal to a workflow. It is kept until a task waits for it."""
    from gz_cli import launch, typed
    from gz_cli.configuration import settings

    reach = launch.running_or_journal(settings.target(url, state))
    from gz_cli.changing import changes

    ask(reach, lambda client: changes.signal(client, id, name, typed.json_value(payload), key, output))


@app.command()
def approve(
    id: Id,
    task: Annotated[
        str | None, typer.Argument(metavar="TASK", help="The task that asks; not needed where only one does.")
    ] = None,
    reject: Annotated[bool, typer.Option("--reject", help="Say no.")] = False,
    param: Inputs = None,
    comment: Annotated[str, typer.Option("--comment", metavar="TEXT", help="What to say besides.")] = "",
    by: Annotated[
        str | None, typer.Option("--by", metavar="NAME", help="Who answers (default: the name of your account).")
    ] = None,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """Answer a task that asks a person: yes, or with --reject no. -p fills in its form."""
    from gz_cli import launch, typed
    from gz_cli.changing import approvals
    from gz_cli.configuration import settings

    answer = approvals.Answer(typed.inputs(param or []), not reject, comment, by)
    reach = launch.running_or_journal(settings.target(url, state))
    ask(reach, lambda client: approvals.approve(client, id, task, answer, output))


def change(
    id: str,
    output: Format,
    url: str | None,
    state: Path | None,
    make: Callable[["Coordinator", str], Awaitable["WorkflowState"]],
    *,
    watch: bool = False,
) -> None:
    from gz_cli import launch
    from gz_cli.configuration import settings

    reach = launch.running_or_journal(settings.target(url, state))
    from gz_cli.changing import changes

    ask(reach, lambda client: changes.change(client, id, output, make, watch=watch))

"""The commands about workflows that the clock starts."""

import enum
from pathlib import Path
from typing import Annotated

import typer

from gz_cli import completing
from gz_cli.formats import Format
from gz_cli.options import Inputs, InputsFile, Output, State, Url
from gz_cli.root import ask, leave, schedule_app

Name = Annotated[str, typer.Argument(metavar="NAME", help="A schedule.", autocompletion=completing.schedules)]


class Overlap(enum.StrEnum):
    SKIP = "skip"
    QUEUE = "queue"
    CANCEL_RUNNING = "cancel_running"
    ALLOW = "allow"


class CatchUp(enum.StrEnum):
    NONE = "none"
    ONE = "one"
    ALL = "all"


@schedule_app.command("put")
def put_schedule(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")],
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A workflow document; - reads stdin. Or --template.")
    ] = None,
    template: Annotated[
        str | None,
        typer.Option("--template", metavar="NAME", help="A template: its newest version, or NAME@VERSION."),
    ] = None,
    cron: Annotated[
        str | None, typer.Option("--cron", metavar="EXPR", help='When, as "30 8 * * MON-FRI", or @daily.')
    ] = None,
    every: Annotated[
        str | None, typer.Option("--every", metavar="DURATION", help="Or every so often: 15m, 2h.")
    ] = None,
    timezone: Annotated[
        str | None, typer.Option("--timezone", metavar="ZONE", help="Whose clock cron goes by (default: UTC).")
    ] = None,
    overlap: Annotated[
        Overlap, typer.Option("--overlap", help="While the workflow before is under way when the next is due.")
    ] = Overlap.SKIP,
    catch_up: Annotated[
        CatchUp, typer.Option("--catch-up", help="For times that were missed because nothing ran.")
    ] = CatchUp.ONE,
    catch_up_limit: Annotated[
        int, typer.Option("--catch-up-limit", metavar="N", min=1, max=1000, help="With all: at most so many.")
    ] = 100,
    start: Annotated[str | None, typer.Option("--start", metavar="TIME", help="Not before.")] = None,
    end: Annotated[str | None, typer.Option("--end", metavar="TIME", help="Not after.")] = None,
    description: Annotated[str, typer.Option("--description", metavar="TEXT", help="What it is for.")] = "",
    param: Inputs = None,
    params_file: InputsFile = None,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """Make or change a schedule: a workflow that is started again and again."""
    from gz_cli import launch, typed
    from gz_cli.configuration import settings

    inputs = typed.inputs(param or [], params_file)
    source = typed.Source(file) if file is not None else None
    when: dict[str, object] = {"cron": cron, "every": every, "timezone": timezone, "start": start, "end": end}
    policy: dict[str, object] = {
        "overlap": overlap.value, "catch_up": catch_up.value, "catch_up_limit": catch_up_limit,
        "description": description,
    }  # fmt: skip
    reach = launch.running_or_started(settings.target(url, state))
    from gz_cli.starting import schedules

    leave(schedules.put_schedule(reach, schedules.Plan(name, source, template, inputs, {**when, **policy}), output))


@schedule_app.command("list")
def list_schedules(output: Output = Format.TEXT, url: Url = None, state: State = None) -> None:
    """The schedules, and when they are due."""
    from gz_cli import launch
    from gz_cli.configuration import settings

    reach = launch.running_or_journal(settings.target(url, state))
    from gz_cli.starting import schedules

    ask(reach, lambda client: schedules.listed(client, output))


@schedule_app.command("get")
def get_schedule(name: Name, output: Output = Format.TEXT, url: Url = None, state: State = None) -> None:
    """One schedule with its next times."""
    from gz_cli import launch
    from gz_cli.configuration import settings

    reach = launch.running_or_journal(settings.target(url, state))
    from gz_cli.starting import schedules

    ask(reach, lambda client: schedules.one(client, name, output))


def _change(name: str, what: str, output: Format, url: str | None, state: Path | None) -> None:
    from gz_cli import launch
    from gz_cli.configuration import settings

    reach = launch.running_or_journal(settings.target(url, state))
    from gz_cli.starting import schedules

    ask(reach, lambda client: schedules.change(client, name, what, output))


@schedule_app.command("pause")
def pause_schedule(name: Name, output: Output = Format.TEXT, url: Url = None, state: State = None) -> None:
    """Start nothing more by it. Times that pass meanwhile are left out."""
    _change(name, "pause", output, url, state)


@schedule_app.command("resume")
def resume_schedule(name: Name, output: Output = Format.TEXT, url: Url = None, state: State = None) -> None:
    """Let it go on."""
    _change(name, "resume", output, url, state)


@schedule_app.command("delete")
def delete_schedule(name: Name, output: Output = Format.TEXT, url: Url = None, state: State = None) -> None:
    """Forget it. Its workflows go on."""
    _change(name, "delete", output, url, state)


@schedule_app.command("trigger")
def trigger_schedule(
    name: Name,
    key: Annotated[
        str | None, typer.Option("--idempotency-key", metavar="KEY", help="The same key starts no second workflow.")
    ] = None,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """Start a workflow of it now, and print its id."""
    from gz_cli import launch
    from gz_cli.configuration import settings

    reach = launch.running_or_journal(settings.target(url, state))
    from gz_cli.starting import schedules

    ask(reach, lambda client: schedules.trigger(client, name, key, output))


@schedule_app.command("backfill")
def backfill_schedule(
    name: Name,
    since: Annotated[
        str, typer.Option("--from", metavar="TIME", help="From this time on, as 2026-11-01 or with 08:00.")
    ],
    until: Annotated[str | None, typer.Option("--to", metavar="TIME", help="To this time (default: now).")] = None,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """Start workflows for times of the past for which none was ever started."""
    from gz_cli import launch
    from gz_cli.configuration import settings

    reach = launch.running_or_journal(settings.target(url, state))
    from gz_cli.starting import schedules

    ask(reach, lambda client: schedules.backfill(client, name, since, until, output))

"""The command `gz` without its commands: what all of them hang on, and how they reach a coordinator."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gleitzeit import __version__
from gz_cli.choices import Commands, Group
from gz_cli.formats import Format

if TYPE_CHECKING:
    from gleitzeit.client.coordinator import Coordinator
    from gz_cli.launch import Reach

HELP = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="gz",
    cls=Commands,
    help="Gleitzeit runs workflows of tasks, durably. `gz run FILE` is all that is needed to begin.",
    epilog="Exit codes: 0 ok, 1 the workflow failed, 2 usage, invalid document or not possible now, 3 not found, "
    "4 not authorised, 5 coordinator unreachable, 6 wait timed out, 7 cancelled, 130 interrupted, 141 nobody reads on.",
    rich_markup_mode=None,  # plain help: rich would double the time that --help takes
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings=HELP,
)
workflow_app = typer.Typer(
    help="run, submit, status, list, get and cancel, as earlier versions spelled them.",
    cls=Group,
    context_settings=HELP,
)
system_app = typer.Typer(help="The running system.", cls=Group, context_settings=HELP)
dev_app = typer.Typer(help="The stack of a developer: `dev start` is `gz up`.", cls=Group, context_settings=HELP)
config_app = typer.Typer(help="The configuration.", cls=Group, context_settings=HELP)
mcp_app = typer.Typer(
    help="MCP: servers whose tools tasks can call, and Gleitzeit as a server.", cls=Group, context_settings=HELP
)
template_app = typer.Typer(
    help="Documents that the coordinator keeps under a name, in versions.", cls=Group, context_settings=HELP
)
schedule_app = typer.Typer(help="Workflows that the clock starts.", cls=Group, context_settings=HELP)
secret_app = typer.Typer(help="What providers know, and nobody else.", cls=Group, context_settings=HELP)
journal_app = typer.Typer(
    help="A journal: check, export, prune; import and migrate while nobody works on it.",
    cls=Group,
    context_settings=HELP,
)
app.add_typer(journal_app, name="journal", no_args_is_help=True)
app.add_typer(secret_app, name="secret", no_args_is_help=True)
app.add_typer(schedule_app, name="schedule", no_args_is_help=True)
app.add_typer(template_app, name="template", no_args_is_help=True)
app.add_typer(mcp_app, name="mcp", no_args_is_help=True)
app.add_typer(workflow_app, name="workflow", hidden=True, no_args_is_help=True)
app.add_typer(system_app, name="system", hidden=True, no_args_is_help=True)
app.add_typer(dev_app, name="dev", hidden=True, no_args_is_help=True)
app.add_typer(config_app, name="config")

Work = Callable[["Coordinator"], Awaitable[int]]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gz {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", hidden=True)] = False,
) -> None:
    if debug or verbose:
        from gz_cli.exits import show_tracebacks

        show_tracebacks()


def leave(code: int) -> NoReturn:
    raise typer.Exit(code)


def ask(reach: "Reach", work: Work) -> NoReturn:
    """Connect, do it, and end with its exit code."""
    import asyncio

    from gz_cli.connect import connected

    async def session() -> int:
        async with connected(reach) as client:
            return await work(client)

    leave(asyncio.run(session()))


def call_task_method(
    method: str,
    params: object,
    timeout: str | None,
    output: Format,
    url: str | None,
    state: Path | None,
    *,
    leave_it: bool = False,
    **more: object,
) -> NoReturn:
    """As a workflow of one task; `more` are further keys of it. `leave_it`: the id is printed, and nobody waits."""
    from gz_cli import exits, launch, typed
    from gz_cli.configuration import settings
    from gz_cli.documents import beforehand

    limit, target = typed.seconds(timeout), settings.target(url, state)
    ready = beforehand.ready_call(launch.for_document(target, method.encode()), method, params, **more)
    if ready is None:
        leave(exits.USAGE)
    from gz_cli.following import waits  # sockets and more, while a stack may be coming up
    from gz_cli.starting import starts

    how = waits.Wait(output, limit, quiet=True, hold_when_interrupted=True)
    leave(starts.start(ready, starts.Start(how, then="leave" if leave_it else "wait")))

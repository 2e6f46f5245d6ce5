"""The commands about many files.

`gz batch DIR` is one of them, whose name may be left out: what is not the name of another is a folder. A folder that is
called like one is `./list`.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from gz_cli.choices import Group
from gz_cli.formats import Format
from gz_cli.options import Inputs, MaxParallel, Output, Provider, State, Url
from gz_cli.root import HELP, app, ask, leave


class _OrFolder(Group):
    """A group with a command that is meant where none is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = bool(args) and (args[0] in self.commands or args[0] in ("-h", "--help"))
        return super().parse_args(ctx, args if named or not args else ["run", *args])


batch_app = typer.Typer(
    cls=_OrFolder,
    help="One question about every file of a folder: `gz batch DIR`, with the options of `gz batch run`.",
    context_settings=HELP,
)
app.add_typer(batch_app, name="batch", no_args_is_help=True)

BatchId = Annotated[str, typer.Argument(metavar="ID", help="The id of a batch, or of a workflow of it.")]
_OUT = "Write it there: .json, .jsonl, .csv or .md."
Out = Annotated[Path | None, typer.Option("--out", metavar="FILE", help=_OUT)]
OutOrFormat = Annotated[Path | None, typer.Option("--out", "--output", metavar="FILE", help=_OUT)]
"""Of earlier versions `--output` is a file here; everywhere else it is a format, and so it is here if it is called like
one."""


@batch_app.command("run")
def batch(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="The folder with the files.")],
    pattern: Annotated[
        str, typer.Option("--pattern", "--files", metavar="GLOB", help="Which of them; ** goes down into folders.")
    ] = "*",
    prompt: Annotated[
        str | None, typer.Option("--prompt", metavar="TEXT", help="What to ask about each; may read ${item.name}.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="NAME", help="The model (default: the provider's).")
    ] = None,
    vision: Annotated[bool, typer.Option("--vision", help="The files are images.")] = False,
    method: Annotated[
        str | None, typer.Option("--method", metavar="METHOD", help="Call this (default: llm/chat, or llm/vision).")
    ] = None,
    param: Inputs = None,
    out: OutOrFormat = None,
    batch_id: Annotated[
        str | None,
        typer.Option(
            "--batch-id", metavar="ID", help="Go on with this batch: only what is missing, failed or changed."
        ),
    ] = None,
    max_parallel: MaxParallel = None,
    format: Annotated[Format, typer.Option("--format", "-o", help="How to print it, without --out.")] = Format.TEXT,
    provider: Provider = None,
    url: Url = None,
    state: State = None,
) -> None:
    """Ask one question about every file of a folder. Files are read here; that some fail is a result."""
    from gz_cli import launch, typed
    from gz_cli.configuration import settings

    if str(out) in [*Format]:
        out, format = None, Format(str(out))
    params = typed.inputs(param or []).by({})
    target = settings.target(url, state, provider)
    reach = launch.running_or_undecided(target)
    from gz_cli.starting import batch as work  # as in run

    template = work.template_of(method, prompt, model, vision=vision, params=params)
    leave(work.run(reach, work.Wish(directory, pattern, template, batch_id or "", max_parallel, out, format)))


@batch_app.command("list")
def listed(
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, max=1000)] = 50,
    output: Output = Format.TEXT,
    url: Url = None,
    state: State = None,
) -> None:
    """The batches that there are, the newest first."""
    from gz_cli import launch
    from gz_cli.configuration import settings

    reach = launch.running_or_journal(settings.target(url, state))
    from gz_cli.starting import kept_batches

    ask(reach, lambda client: kept_batches.listed(client, limit, output))


@batch_app.command()
def show(batch_id: BatchId, output: Output = Format.TEXT, url: Url = None, state: State = None) -> None:
    """How far a batch is, and what came of its files."""
    from gz_cli import launch
    from gz_cli.configuration import settings

    reach = launch.running_or_journal(settings.target(url, state))
    from gz_cli.starting import kept_batches

    ask(reach, lambda client: kept_batches.show(client, batch_id, output))


@batch_app.command()
def export(
    batch_id: BatchId, out: Out = None, output: Output = Format.JSON, url: Url = None, state: State = None
) -> None:
    """Write down what came of the files of a batch."""
    from gz_cli import launch
    from gz_cli.configuration import settings

    reach = launch.running_or_journal(settings.target(url, state))
    from gz_cli.starting import kept_batches

    ask(reach, lambda client: kept_batches.export(client, batch_id, out, output))


@batch_app.command()
def resume(
    batch_id: BatchId, out: Out = None, output: Output = Format.TEXT, url: Url = None, state: State = None
) -> None:
    """Go on with what failed or was not begun, with the files as they were. For files that have changed since:
    `gz batch DIR --batch-id ID`."""
    from gz_cli import launch
    from gz_cli.configuration import settings
    from gz_cli.starting import kept_batches

    ask(launch.running(settings.target(url, state)), lambda client: kept_batches.resume(client, batch_id, out, output))


for _command in (listed, show, export, resume):  # as some documents of earlier versions spelled them
    app.command(f"batch-{_command.__name__.removesuffix('ed')}", hidden=True)(_command)

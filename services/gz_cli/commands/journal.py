"""The commands about a journal. Some need it alone, others work beside its coordinator."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gz_cli.formats import Format
from gz_cli.options import Output, State
from gz_cli.root import journal_app, leave

if TYPE_CHECKING:
    from gleitzeit.process.reach import Target

JournalUrl = Annotated[
    str | None,
    typer.Option("--journal", metavar="URL", help="The journal (default: the configured one; GLEITZEIT_JOURNAL)."),
]


def _place(journal: str | None, state: Path | None) -> "tuple[str, Target]":
    """The journal, and the coordinator that may have it."""
    from msgspec.structs import replace

    from gleitzeit.process.reach import target_of
    from gz_cli.configuration import settings

    config = settings.configured(journal=journal, state_dir=settings.text(state))
    target = target_of(config)
    return config.journal, replace(target, url=None) if state is not None else target


@journal_app.command()
def check(journal: JournalUrl = None, output: Output = Format.TEXT, state: State = None) -> None:
    """Read all of it: checksums, and whether every workflow can be rebuilt. Also while a coordinator works on it."""
    import asyncio

    from gz_cli.journal import checking

    leave(asyncio.run(checking.check(*_place(journal, state), output)))


@journal_app.command()
def migrate(journal: JournalUrl = None, state: State = None) -> None:
    """Bring it to the present format, and keep a copy. Not while a coordinator has it, which does so without a copy."""
    import asyncio

    from gz_cli.journal import migrating

    leave(asyncio.run(migrating.migrate(_place(journal, state)[0])))


@journal_app.command("export")
def export(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="Where to (default: stdout).")] = None,
    journal: JournalUrl = None,
    state: State = None,
) -> None:
    """Write all of it as lines of JSON, which `import` takes into a journal of any kind. Also beside a coordinator."""
    import asyncio

    from gz_cli.journal import copying

    leave(asyncio.run(copying.export(*_place(journal, state), file)))


@journal_app.command("import")
def take_in(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="An export (default: stdin).")] = None,
    journal: JournalUrl = None,
    state: State = None,
) -> None:
    """Take in what `export` wrote. What is there already, and is the same, is passed over. Not beside a coordinator."""
    import asyncio

    from gz_cli.journal import copying

    leave(asyncio.run(copying.take_in(_place(journal, state)[0], file)))


@journal_app.command()
def prune(
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="TIME", help="Workflows that ended so long ago: 30d, 12h.")
    ] = None,
    keep: Annotated[int | None, typer.Option("--keep", metavar="N", min=0, help="All but the newest N.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list their ids.")] = False,
    journal: JournalUrl = None,
    output: Output = Format.TEXT,
    state: State = None,
) -> None:
    """Forget workflows that have ended, with what only they needed; a running coordinator is asked to."""
    import asyncio

    from gz_cli import typed
    from gz_cli.exits import UsageError
    from gz_cli.journal import pruning

    if older_than is None and keep is None:
        raise UsageError("prune wants --older-than or --keep, or both")
    how = pruning.Prune(typed.seconds(older_than), keep, dry_run, output)
    leave(asyncio.run(pruning.prune(*_place(journal, state), how)))

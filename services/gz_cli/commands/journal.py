"""The commands about a journal that nobody works on."""

from pathlib import Path
from typing import Annotated

import typer

from gz_cli.options import State
from gz_cli.root import journal_app, leave

JournalUrl = Annotated[
    str | None,
    typer.Option("--journal", metavar="URL", help="The journal (default: the configured one; GLEITZEIT_JOURNAL)."),
]


def _url(journal: str | None, state: Path | None) -> str:
    from gz_cli import settings

    return settings.configured(journal=journal, state_dir=settings.text(state)).journal


@journal_app.command()
def check(journal: JournalUrl = None, state: State = None) -> None:
    """Read all of it: checksums, and whether every workflow can be rebuilt."""
    import asyncio

    from gz_cli import journal as work

    leave(asyncio.run(work.check(_url(journal, state))))


@journal_app.command()
def migrate(journal: JournalUrl = None, state: State = None) -> None:
    """Bring it to the present format, and keep a copy. (A coordinator does so by itself, without a copy.)"""
    import asyncio

    from gz_cli import journal as work

    leave(asyncio.run(work.migrate(_url(journal, state))))


@journal_app.command("export")
def export(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Where to (default: stdout).")] = None,
    journal: JournalUrl = None,
    state: State = None,
) -> None:
    """Write all of it as lines of JSON, which `import` takes into a journal of any kind."""
    import asyncio

    from gz_cli import journal_copy

    leave(asyncio.run(journal_copy.export(_url(journal, state), file)))


@journal_app.command("import")
def take_in(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="An export (default: stdin).")] = None,
    journal: JournalUrl = None,
    state: State = None,
) -> None:
    """Take in what `export` wrote. What is there already, and is the same, is passed over."""
    import asyncio

    from gz_cli import journal_copy

    leave(asyncio.run(journal_copy.take_in(_url(journal, state), file)))


@journal_app.command()
def prune(
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="TIME", help="Workflows that ended so long ago: 30d, 12h.")
    ] = None,
    keep: Annotated[int | None, typer.Option("--keep", metavar="N", min=0, help="All but the newest N.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list their ids.")] = False,
    journal: JournalUrl = None,
    state: State = None,
) -> None:
    """Forget workflows that have ended, with what only they needed."""
    import asyncio

    from gz_cli import journal as work
    from gz_cli import typed
    from gz_cli.exits import UsageError

    if older_than is None and keep is None:
        raise UsageError("prune wants --older-than or --keep, or both")
    leave(asyncio.run(work.prune(_url(journal, state), typed.seconds(older_than), keep, dry_run=dry_run)))

"""`gz journal migrate`: an older journal in the present format, and a copy of what it was."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from gleitzeit.journal.sqlite_tables import FORMAT, format_of
from gleitzeit.spec.urls import shown
from gz_cli import exits
from gz_cli.journal.access import opened
from gz_cli.terminal.talk import say


async def migrate(url: str) -> int:
    """Bring an older journal to the present format; of a file a copy is kept."""
    path = Path(url.removeprefix("sqlite://")) if url.startswith("sqlite://") else None
    found = format_of(path) if path is not None else None
    if path is not None and found is not None and found < FORMAT:
        kept = path.with_name(f"{path.name}.format-{found}")
        with _copied(path, kept):
            async with opened(url):
                pass
        say(f"{shown(url)}: from format {found} to {FORMAT}; the file as it was is {kept}")
        return exits.OK
    async with opened(url):
        say(f"{shown(url)}: it has the present format")
    return exits.OK


@contextmanager
def _copied(path: Path, copy: Path) -> Iterator[None]:
    """A copy that goes again if what follows fails. SQLite makes it: it has what stands in the log beside the file."""
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    copy.chmod(0o600)
    try:
        yield
    except BaseException:
        copy.unlink(missing_ok=True)
        raise

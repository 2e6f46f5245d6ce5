"""Where events become durable. `open_journal(url)` gives the adapter; nothing is opened before its `claim`."""

from pathlib import Path

from gleitzeit.errors import ConfigurationError
from gleitzeit.journal.base import OwnedJournal
from gleitzeit.journal.memory import MemoryJournal, MemoryStore
from gleitzeit.journal.sqlite import SqliteJournal

_KNOWN = "sqlite:///ABSOLUTE/PATH, sqlite://RELATIVE/PATH, a path that ends in .db, or memory:"


def open_journal(url: str) -> OwnedJournal:
    """The journal at `url`, unclaimed. Raises ConfigurationError, naming what is known, for anything else."""
    scheme, colon, rest = url.partition(":")
    if colon and scheme == "memory" and rest in ("", "//"):
        return MemoryJournal()
    if colon and scheme == "sqlite" and rest.startswith("//") and len(rest) > 2:
        path = rest[2:]  # sqlite:////path, with a fourth slash, is what SQLAlchemy's users write
        return SqliteJournal(Path("/" + path.lstrip("/") if path.startswith("/") else path))
    if url.endswith(".db") and "://" not in url:
        return SqliteJournal(Path(url))
    shown = f"{scheme}:…" if colon else url  # a database's URL may hold a password
    raise ConfigurationError(f"unknown journal {shown!r}: expected {_KNOWN}")


__all__ = ["MemoryJournal", "MemoryStore", "OwnedJournal", "SqliteJournal", "open_journal"]

"""Where events become durable. `open_journal(url)` gives the adapter; nothing is opened before its `claim`."""

from importlib.util import find_spec
from pathlib import Path

from gleitzeit.errors import ConfigurationError
from gleitzeit.journal.base import OwnedJournal
from gleitzeit.journal.memory import MemoryJournal, MemoryStore
from gleitzeit.journal.sqlite import SqliteJournal

_KNOWN = (
    "sqlite:///ABSOLUTE/PATH, sqlite://RELATIVE/PATH, a path that ends in .db, memory:, postgresql://HOST/DATABASE or"
    " redis://HOST/NUMBER"
)


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
    if colon and rest.startswith("//") and scheme in ("postgresql", "postgres"):
        return _postgres(url)
    if colon and rest.startswith("//") and scheme in ("redis", "rediss"):
        return _redis(url)
    named = f"{scheme}:…" if colon else url  # a database's URL may hold a password
    raise ConfigurationError(f"unknown journal {named!r}: expected {_KNOWN}")


def _postgres(url: str) -> OwnedJournal:
    _need("asyncpg", "postgres")
    # an extra: not everybody has it, and who keeps a local journal does not wait for its import
    from gleitzeit.journal.postgres import PostgresJournal

    return PostgresJournal(url)


def _redis(url: str) -> OwnedJournal:
    _need("redis", "redis")
    # as above
    from gleitzeit.journal.redis import RedisJournal

    return RedisJournal(url)


def _need(module: str, extra: str) -> None:
    if find_spec(module) is None:
        raise ConfigurationError(f"this journal needs the package {module}: pip install 'gleitzeit[{extra}]'")


__all__ = ["MemoryJournal", "MemoryStore", "OwnedJournal", "SqliteJournal", "open_journal"]

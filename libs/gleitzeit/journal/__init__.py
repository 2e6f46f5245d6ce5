"""Where events become durable. `open_journal(url)` gives the adapter; nothing is opened before its `claim`."""

from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path

from gleitzeit.errors import ConfigurationError
from gleitzeit.journal.base import JournalView, OwnedJournal
from gleitzeit.journal.memory import MemoryJournal, MemoryStore
from gleitzeit.journal.sqlite import SqliteJournal
from gleitzeit.spec.urls import ESCAPES, is_ambiguous, shown

_KNOWN = (
    "sqlite:///ABSOLUTE/PATH, sqlite://RELATIVE/PATH, a path that ends in .db, memory:, postgresql://HOST/DATABASE or"
    " redis://HOST/NUMBER"
)


def open_journal(url: str) -> OwnedJournal:
    """The journal at `url`, unclaimed. Raises ConfigurationError, naming what is known, for anything else."""
    scheme, colon, rest = url.partition(":")
    if scheme != "sqlite" and is_ambiguous(url):
        raise ConfigurationError(f"the URL of the journal {shown(url)} cannot be understood: {ESCAPES}")
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
    named = f"{scheme}:…" if colon else "without a scheme"  # it may hold a password
    raise ConfigurationError(f"unknown journal {named}: expected {_KNOWN}")


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


async def open_view(url: str) -> JournalView | None:
    """A look at the journal beside whoever works on it; None where that is not possible: a file has one reader.

    Raises ConfigurationError if there is none, or one of a newer format.
    """
    scheme = url.partition(":")[0]
    if scheme in ("postgresql", "postgres"):
        _need("asyncpg", "postgres")
        from gleitzeit.journal.postgres_reading import PostgresView  # as above

        postgres = PostgresView(url)
        return await _opened(postgres, postgres.open)
    if scheme in ("redis", "rediss"):
        _need("redis", "redis")
        from gleitzeit.journal.redis_reading import RedisView  # as above

        redis = RedisView(url)
        return await _opened(redis, redis.open)
    return None


async def _opened(view: JournalView, opening: Callable[[], Awaitable[None]]) -> JournalView:
    try:
        await opening()
    except BaseException:
        await view.close()
        raise
    return view


def _need(module: str, extra: str) -> None:
    if find_spec(module) is None:
        raise ConfigurationError(f"this journal needs the package {module}: pip install 'gleitzeit[{extra}]'")


__all__ = ["JournalView", "MemoryJournal", "MemoryStore", "OwnedJournal", "SqliteJournal", "open_journal", "open_view"]

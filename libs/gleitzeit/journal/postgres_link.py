"""A connection to PostgreSQL that comes back: what failed for want of it is tried again, for a while."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg

from gleitzeit.errors import ConfigurationError, JournalError, JournalFull
from gleitzeit.spec.urls import not_understood, shown

T = TypeVar("T")
CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 20.0
RETRY_SECONDS = 0.2

_LOST = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the connection ended in the middle of something
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # the server stops, restarts, or ends our session
    asyncpg.TooManyConnectionsError,
)
_AGAIN = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.UniqueViolationError,  # the same was written in the same moment: by another, or by an earlier try of ours
)
_NEVER = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
)


class Link:
    """One connection, used by one at a time. `patience_seconds` is how long a lost one is sought before it is given up;
    until the first has been made nothing is tried twice."""

    def __init__(self, url: str, name: str) -> None:
        self.patience_seconds = 0.0
        self._url = url
        self._name = name
        self._connection: Any = None
        self._lock = asyncio.Lock()

    async def run(self, work: Callable[[Any, bool], Awaitable[T]]) -> T:
        """`work` gets the connection, and whether an earlier try of it may have succeeded unheard.

        Raises JournalFull, JournalError, and ConfigurationError for what will never work.
        """
        async with self._lock:
            loop = asyncio.get_running_loop()
            give_up, again = loop.time() + self.patience_seconds, False
            while True:
                try:
                    return await work(await self._connected(), again)
                except (*_LOST, *_AGAIN) as error:
                    again = True
                    if not isinstance(error, _AGAIN):
                        self._drop()
                    if loop.time() >= give_up:
                        raise JournalError(
                            f"the journal {shown(self._url)} cannot be reached: {_say(error)}"
                        ) from error
                    await asyncio.sleep(RETRY_SECONDS)
                except asyncpg.PostgresError as error:
                    raise self._translated(error) from error

    async def _connected(self) -> Any:
        if self._connection is None or self._connection.is_closed():
            # `on` whatever the server's default is: an append that is acknowledged has reached the disk
            settings = {"application_name": self._name, "synchronous_commit": "on"}
            try:
                self._connection = await asyncpg.connect(
                    self._url, timeout=CONNECT_SECONDS, command_timeout=COMMAND_SECONDS, server_settings=settings
                )
            except ValueError as error:
                raise ConfigurationError(not_understood("the journal", self._url, error)) from None
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    def _translated(self, error: asyncpg.PostgresError) -> Exception:
        where = shown(self._url)
        if isinstance(error, asyncpg.DiskFullError):
            return JournalFull(f"no space left for the journal {where}: {error}")
        if isinstance(error, _NEVER):
            return ConfigurationError(f"the journal {where} cannot be used: {error}")
        if isinstance(error, asyncpg.DataError):
            return ValueError(str(error))
        return JournalError(f"the journal {where} failed: {error}")

    async def close(self) -> None:
        """Waits for what is under way."""
        async with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                try:
                    await connection.close(timeout=CONNECT_SECONDS)
                except _LOST:
                    connection.terminate()


def _say(error: BaseException) -> str:
    return str(error) or type(error).__name__

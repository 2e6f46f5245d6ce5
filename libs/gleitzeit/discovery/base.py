"""The port to discovery: it reports that providers exist. Whether they work, only their socket says."""

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct


class ProviderSeen(Struct, frozen=True):
    """A provider announced itself, or was found. `instance` is one start of its process."""

    name: str
    instance: str
    url: str
    protocols: tuple[str, ...] = ()


class ProviderChanged(Struct, frozen=True):
    """Its methods, models or capacity may have changed: read `rpc.discover` on its socket again."""

    instance: str


class ProviderLost(Struct, frozen=True):
    """It has `withdrawn`, and gets no new calls; or discovery hears it no more, which says nothing of one whose socket
    is open: it may be discovery that stands still."""

    instance: str
    reason: str = ""
    withdrawn: bool = True


Report = ProviderSeen | ProviderChanged | ProviderLost


class Directory(Protocol):
    """The coordinator's side."""

    async def watch(self, report: Callable[[Report], None]) -> None:
        """Start reporting, beginning with all that are there now. To be called once.

        Returns at once, also while discovery cannot be reached: what is there is then reported when it can.
        """

    @property
    def connected(self) -> bool: ...

    async def close(self) -> None: ...


class Announcer(Protocol):
    """The provider's side."""

    async def announce(self, provider: ProviderSeen, on_stats: Callable[[], dict[str, object]]) -> None:
        """Say, now and whenever discovery comes back, that `provider` is there.

        To be called once, when its socket listens. Returns at once, also while discovery cannot be reached. `on_stats`
        is asked when somebody wants figures; it returns what JSON can carry.
        """

    @property
    def connected(self) -> bool: ...

    async def changed(self) -> None:
        """Its methods, models or capacity may have changed."""

    async def withdraw(self) -> None:
        """Say goodbye, if anybody can hear it, and let go of the connection."""

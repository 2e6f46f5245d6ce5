"""From a coordinator that was found or is coming up to an open connection."""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from gleitzeit.errors import ConnectionLost
from gleitzeit.process.reach import Reach, started
from gleitzeit.process.state import Address, holder_lives
from gleitzeit.spec.urls import shown
from gleitzeit.transport import Connection, connect, pin, trust
from gleitzeit.transport.connection import OnNotification

START_SECONDS = 40.0
"""A stack that starts while another one still drains waits up to 30 s for it."""
OPEN_SECONDS = 5.0
OPEN_OURS_SECONDS = 30.0
"""To a stack that we have started and that has just said it is ready: who is silent there has a busy machine."""
RETURN_SECONDS = 10.0
"""For a coordinator that has died to be started again by its stack."""
LOOK_AGAIN_SECONDS = 0.1
SILENCE_SECONDS = 1.0
"""After which somebody may want to know what is waited for."""
OnWaiting = Callable[[str], object]


class Place(Struct, frozen=True):
    """Where a coordinator is, what to present to it, and whom to trust there (None: whom the system trusts)."""

    url: str
    token: str | None = None
    tls: ssl.SSLContext | None = None
    open_timeout_seconds: float = OPEN_SECONDS
    state: Path | None = None
    """The folder of its stack, if that is one of this machine."""

    def may_return(self) -> bool:
        """False when nobody is left who would start it again."""
        return self.state is None or holder_lives(self.state)


async def open_place(place: Place, on_notification: OnNotification | None) -> Connection:
    """Raises ConnectionLost, Unauthorized, and ConfigurationError for a certificate that is not trusted."""
    return await connect(
        place.url,
        on_notification=on_notification,
        token=place.token,
        tls=place.tls,
        open_timeout_seconds=place.open_timeout_seconds,
    )


def gone(url: str) -> str:
    return f"the coordinator at {shown(url)} does not answer; waiting for it to come back"


async def open_reach(
    reach: Reach, on_notification: OnNotification | None, on_waiting: OnWaiting = lambda words: None
) -> tuple[Place, Connection]:
    """Wait for a stack that starts, or whose coordinator is started again: of that `on_waiting` is told. Raises what
    `open_place` raises, and DetachedFailed."""
    if reach.address is None:
        return await _open(reach, await _address_of(reach), on_notification, OPEN_OURS_SECONDS)
    if not reach.address.embedded:
        return await _open_again(reach, reach.address, on_notification, on_waiting)
    with suppress(ConnectionLost):
        place, connection = await _open(reach, reach.address, on_notification)
        if not (await connection.call("system.status"))["draining"]:
            return place, connection
        await connection.close()
    # An embedded one that we found in the moment of its end: its successor takes over the same journal.
    successor = started(reach.target)
    return await _open(successor, await _address_of(successor), on_notification, OPEN_OURS_SECONDS)


async def _open_again(
    reach: Reach, address: Address, on_notification: OnNotification | None, on_waiting: OnWaiting
) -> tuple[Place, Connection]:
    """Where a stack of this machine lives its coordinator is waited for."""
    now = asyncio.get_running_loop().time
    began, told = now(), False
    while True:
        try:
            return await _open(reach, address, on_notification)
        except ConnectionLost:
            if not address.pid or now() > began + RETURN_SECONDS or not holder_lives(reach.target.state):
                raise
        if not told and now() > began + SILENCE_SECONDS:
            told = True
            on_waiting(gone(address.url))
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


async def _open(
    reach: Reach, address: Address, on_notification: OnNotification | None, open_seconds: float = OPEN_SECONDS
) -> tuple[Place, Connection]:
    token, tls = address.token or reach.target.token, _trusted(address, reach.target.tls_ca)
    state = reach.target.state if address.pid else None  # 0: somewhere else, where we cannot look
    place = Place(address.url, token, tls, state=state)
    return place, await open_place(replace(place, open_timeout_seconds=open_seconds), on_notification)


def _trusted(address: Address, tls_ca: Path | None) -> ssl.SSLContext | None:
    if address.certificate is not None:
        return pin(Path(address.certificate))
    return trust(tls_ca) if tls_ca is not None and address.url.startswith("wss:") else None


async def _address_of(reach: Reach) -> Address:
    """Wait for a stack to say where it is, without blocking the loop: Ctrl-C is heard meanwhile."""
    detached = reach.detached
    assert detached is not None, "a Reach has an address or a stack that will have one"
    readable = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(detached.descriptor, readable.set)
    try:
        async with asyncio.timeout(START_SECONDS):
            await readable.wait()
    except TimeoutError:
        detached.abandon()
        raise ConnectionLost(f"the stack was not ready in {START_SECONDS:g} s; see {reach.target.state}/logs") from None
    finally:
        loop.remove_reader(detached.descriptor)
    return detached.address(timeout_seconds=1.0)

"""From a coordinator that was found or is coming up to a client that is connected."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from signal import SIGTERM

from gleitzeit.client import Client
from gleitzeit.errors import ConnectionLost
from gleitzeit.process.detached import Detached
from gleitzeit.process.state import Address, holder_lives
from gleitzeit.transport import pin, trust
from gz_cli.launch import Reach, started

START_SECONDS = 40.0
"""A stack that starts while another one still drains waits up to 30 s for it."""


@asynccontextmanager
async def connected(reach: Reach) -> AsyncIterator[Client]:
    """Raises ConnectionLost, Unauthorized, DetachedFailed."""
    client = await _connect(reach)
    try:
        yield client
    finally:
        await client.close()


async def _connect(reach: Reach) -> Client:
    if reach.address is None:
        return await _to(reach, await _address_of(reach))
    if not reach.address.embedded:
        return await _to(reach, reach.address)
    with suppress(ConnectionLost):
        client = await _to(reach, reach.address)
        if not (await client.status()).draining:
            return client
        await client.close()
    # An embedded one that we found in the moment of its end: its successor takes over the same journal.
    successor = started(reach.target)
    return await _to(successor, await _address_of(successor))


async def _to(reach: Reach, address: Address) -> Client:
    token = address.token or reach.target.token
    tls = _trusted(address, reach.target.tls_ca)
    state = reach.target.state if address.pid else None  # 0: somewhere else, where we cannot look
    may_return = None if state is None else partial(holder_lives, state)
    return await Client.connect(address.url, token=token, tls=tls, may_return=may_return)


def _trusted(address: Address, tls_ca: Path | None) -> ssl.SSLContext | None:
    """None: what the system trusts."""
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


def dismiss(reach: Reach) -> None:
    """End a stack that was started for nothing, before anybody has asked where it is."""
    if reach.detached is not None:
        _stop(reach.detached)


def _stop(detached: Detached) -> None:
    detached.abandon()
    with suppress(ProcessLookupError):
        os.kill(detached.pid, SIGTERM)

"""A provider as a process: options, readiness, discovery, and an orderly end."""

import argparse
import errno
import gc
import logging
import sys
from contextlib import AbstractAsyncContextManager
from typing import NoReturn, Protocol

from gleitzeit.discovery.base import Announcer, ProviderSeen
from gleitzeit.errors import ConfigurationError
from gleitzeit.process import loop
from gleitzeit.process.lifetime import Lifetime
from gleitzeit.process.logs import LEVELS, configure
from gleitzeit.process.private import revealed
from gleitzeit.process.ready import announce_failure, announce_ready
from gleitzeit.provider.service import Service

# Calls come and go by the thousand a second and leave no cycles behind: look for garbage rarely.
GC_THRESHOLD = 50_000

logger = logging.getLogger(__name__)


class Serves(Protocol):
    """What runs in the process: a `Provider`."""

    @property
    def name(self) -> str: ...
    @property
    def protocols(self) -> tuple[str, ...]: ...
    @property
    def capacity(self) -> int: ...
    def serve(self, *, host: str, port: int, capacity: int | None) -> AbstractAsyncContextManager[Service]: ...


def parser(provider: Serves, capacity_default: str = "%(default)s") -> argparse.ArgumentParser:
    described = argparse.ArgumentParser(
        prog=f"gz-provider-{provider.name}",
        description=f"Serve {', '.join(provider.protocols)} to Gleitzeit, as JSON-RPC 2.0 over WebSocket.",
        epilog="Started by hand, it is found through NATS (--nats and --cluster as `gz status` shows them), "
        'or made known by: gz call provider.register --params \'{"url": "ws://HOST:PORT/"}\'',
    )
    add = described.add_argument
    add("--listen", metavar="HOST:PORT", default="127.0.0.1:0", type=_address, help="default 127.0.0.1:0, a free port")
    add("--nats", metavar="URL", default=revealed("--nats"), help="announce the provider on this NATS server")
    add("--cluster", metavar="ID", default="default", help="for coordinators of this cluster only (default: default)")
    add(
        "--capacity", metavar="N", type=positive, default=provider.capacity,
        help=f"calls at once (default: {capacity_default})",
    )  # fmt: skip
    add("--drain-seconds", metavar="S", type=float, default=10.0, help="for running calls to finish at the end (10)")
    add("--log-level", choices=LEVELS, default="info")
    add("--log-format", choices=("auto", "text", "json"), default="auto", help="auto: text on a terminal, else JSON")
    return described


def run(provider: Serves, options: argparse.Namespace) -> None:
    """Returns when the process may end. Exits with 2 for what it was started with, 1 for an address it cannot have."""
    service = f"gz-provider-{provider.name}"
    configure(options.log_level, options.log_format, service=service)
    try:
        loop.run(_run(provider, options))
    except ConfigurationError as error:
        give_up(provider.name, error.message, 2)
    except OSError as error:
        place = ":".join(map(str, options.listen))
        in_use = f"the address {place} is in use; choose another one with --listen HOST:PORT"
        give_up(provider.name, in_use if error.errno == errno.EADDRINUSE else str(error), 1)


def give_up(name: str, why: str, code: int) -> NoReturn:
    """Exit, and say why to the one who waits for the provider to be ready; on stderr if there is nobody."""
    if not announce_failure(why):
        print(f"gz-provider-{name}: {why}", file=sys.stderr)
    sys.exit(code)


async def _run(provider: Serves, options: argparse.Namespace) -> None:
    host, port = options.listen
    with Lifetime() as lifetime:
        async with provider.serve(host=host, port=port, capacity=options.capacity) as service:
            announce_ready(service.url)
            logger.info("listening at %s, instance %s", service.url, service.instance)
            gc.freeze()
            gc.set_threshold(GC_THRESHOLD)
            announcer = await _announced(provider, service, options)
            await lifetime.drain.wait()
            logger.info("draining: %s; %d calls run", lifetime.reason, service.table.running)
            # Calls that come in from now on are answered busy, also while discovery is still being told.
            service.table.draining = True
            if announcer is not None:
                await announcer.withdraw()
            await service.running.drain(options.drain_seconds)
    logger.info("stopped")


async def _announced(provider: Serves, service: Service, options: argparse.Namespace) -> Announcer | None:
    if options.nats is None:
        return None
    # Costs 70 ms, and whoever waits for this process waits for its socket only.
    from gleitzeit.discovery.nats import NatsAnnouncer

    announcer = NatsAnnouncer(options.nats, options.cluster)
    seen = ProviderSeen(provider.name, service.instance, service.url, provider.protocols)
    await announcer.announce(seen, lambda: {"running": service.table.running, "capacity": service.table.capacity})
    return announcer


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def positive(text: str) -> int:
    """The type of an option that is a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)

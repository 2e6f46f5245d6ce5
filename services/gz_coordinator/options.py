"""The command line of gz-coordinator, and what follows from it."""

import argparse
import math
import os
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

from gleitzeit.config import default_folder, read_token, values
from gleitzeit.errors import ConfigurationError
from gleitzeit.journal import base as journal
from gleitzeit.process import logs
from gleitzeit.process.private import revealed
from gleitzeit.spec.strategies import read_strategies
from gleitzeit.transport.tls import identity
from gz_coordinator.keeping.retention import Retention

LEASE_SECONDS = 900.0


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="gz-coordinator",
        description="Keeps the task queue and the dependency graph of all workflows, durably, and calls providers.",
        epilog="Any JSON-RPC 2.0 client can talk to it over a WebSocket: workflow.submit, workflow.watch, "
        "rpc.discover. GET /healthz, /readyz and /metrics answer on the same port.",
    )
    _of_itself(parser.add_argument_group("where it is").add_argument)
    _of_the_journal(parser.add_argument_group("the journal").add_argument)
    _of_providers(parser.add_argument_group("providers").add_argument)
    _of_clients(parser.add_argument_group("clients, and what their documents may").add_argument)
    return parser.parse_args(arguments)


def _of_itself(add: Callable[..., object]) -> None:
    add("--listen", default="127.0.0.1:8765", metavar="HOST:PORT", type=listen, help="default %(default)s")
    add("--state", type=Path, metavar="DIR", help="state folder (default ~/.gleitzeit)")
    add("--embedded", action="store_true", help="end when the last client has left and nothing runs")
    add(
        "--drain-seconds",
        metavar="S",
        type=patience,
        default=10.0,
        help="for calls to finish after SIGTERM (default 10)",
    )
    add("--log-level", default="info", choices=logs.LEVELS)
    add("--log-format", default="auto", choices=["auto", "text", "json"])


def _of_the_journal(add: Callable[..., object]) -> None:
    add(
        "--journal",
        metavar="URL",
        default=revealed("--journal"),
        help="sqlite:///PATH, memory:, postgresql://… or redis://… (default: journal.db in the state folder)",
    )
    add(
        "--journal-fallback",
        metavar="URL,…",
        default=revealed("--journal-fallback"),
        help="the journals to take, loudly and in this order, if the one before cannot be reached at the start",
    )
    add(
        "--advertise",
        metavar="URL",
        default="",
        help="where other coordinators on the same journal reach this one (default: where it listens)",
    )
    add(
        "--shard-lease-seconds",
        metavar="S",
        type=lease,
        default=journal.LEASE_SECONDS,
        help="where a journal is shared: how long until others take over from a coordinator that died (default "
        f"{journal.LEASE_SECONDS:g})",
    )
    add(
        "--resume",
        choices=["none", "all"],
        help="unfinished workflows: hold them, or go on (default: all; none with --embedded)",
    )
    add(
        "--retention",
        metavar="DURATION",
        type=duration,
        help="forget workflows that ended so long ago, as 30d (default: never)",
    )
    add(
        "--retention-count",
        metavar="N",
        type=int,
        help="forget all but the N newest of the workflows that have ended (default: none)",
    )


def _of_providers(add: Callable[..., object]) -> None:
    add(
        "--nats",
        metavar="URL",
        default=revealed("--nats"),
        help="where providers are found; without it only by provider.register",
    )
    add("--cluster", metavar="ID", help="providers of other clusters are not seen (default: of the state folder)")
    add(
        "--expect",
        metavar="NAME,…",
        help="providers that are started with it: a task whose model nobody lists waits for them (default: a second "
        "after each one that comes)",
    )
    add(
        "--strategy",
        metavar="NAME,…",
        type=strategies,
        default={},
        help="which provider gets a call where several could have it: least_loaded (the default), round_robin, "
        "model_affinity or best_fit; of some protocols or methods as in least_loaded,llm=model_affinity",
    )
    add(
        "--lease-seconds",
        metavar="S",
        type=lease,
        default=os.environ.get("GLEITZEIT_LEASE_SECONDS", LEASE_SECONDS),
        help="how long a provider goes on with a call while no coordinator asks for it (default 900: a restart costs "
        "nothing)",
    )


def _of_clients(add: Callable[..., object]) -> None:
    add("--token-file", type=Path, metavar="FILE", help="clients must present the token that stands in it")
    add("--tls-cert", type=Path, metavar="FILE", help="serve wss:// with this certificate chain (PEM)")
    add("--tls-key", type=Path, metavar="FILE", help="its private key, if it stands in another file")
    add(
        "--allow-env",
        default="",
        metavar="NAME,…",
        help="environment variables of this process that documents may read as ${env.NAME} (default: none); what the "
        "client sends in `env` counts first",
    )
    add(
        "--allow-root",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="a folder whose files documents may name, for clients that do not read them themselves; may be repeated "
        "(default: none)",
    )


def duration(text: str) -> float:
    """Seconds, or 30d. Raises ArgumentTypeError."""
    try:
        return values.seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def strategies(text: str) -> dict[str, str]:
    """Raises ArgumentTypeError."""
    try:
        return read_strategies(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def retention(chosen: argparse.Namespace) -> Retention:
    """Raises ConfigurationError."""
    if chosen.retention_count is not None and chosen.retention_count < 1:
        raise ConfigurationError("--retention-count wants a number from 1")
    return Retention(chosen.retention, chosen.retention_count)


def state_folder(chosen: argparse.Namespace) -> Path:
    folder: Path = chosen.state or default_folder(os.environ)
    return folder.resolve()


def journal_urls(chosen: argparse.Namespace) -> list[str]:
    """The one that is wanted, then what may take its place."""
    first = chosen.journal or f"sqlite://{state_folder(chosen) / 'journal.db'}"
    return [first, *(url for url in (chosen.journal_fallback or "").split(",") if url)]


def held_at_start(chosen: argparse.Namespace) -> bool:
    """Whether what earlier runs left unfinished waits until somebody resumes it."""
    return chosen.resume == "none" or (chosen.embedded and chosen.resume is None)


def listen(text: str) -> str:
    """HOST:PORT, as it was given. Raises ArgumentTypeError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return text


def address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


def patience(text: str) -> float:
    """Seconds, from 0. Raises ArgumentTypeError."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return seconds


def lease(text: str) -> float:
    """As `patience`, and more than none: who has a lease must be able to renew it."""
    seconds = patience(text)
    if not seconds:
        raise argparse.ArgumentTypeError("expected more than 0 seconds")
    return seconds


def token(chosen: argparse.Namespace) -> str | None:
    """Raises ConfigurationError for a file without one."""
    return read_token(chosen.token_file) if chosen.token_file is not None else None


def tls(chosen: argparse.Namespace) -> ssl.SSLContext | None:
    """Raises ConfigurationError for files that cannot be used."""
    return identity(chosen.tls_cert, chosen.tls_key)


def peer_tls(chosen: argparse.Namespace) -> ssl.SSLContext | None:
    """Checks the certificates of other coordinators. Ours is trusted too: it may be signed by itself."""
    if chosen.tls_cert is None:
        return None
    context = ssl.create_default_context()
    context.load_verify_locations(chosen.tls_cert)
    return context


def allowed_environ(chosen: argparse.Namespace, environ: Mapping[str, str]) -> dict[str, str]:
    """What documents may read of our environment."""
    names = (name.strip() for name in chosen.allow_env.split(","))
    return {name: environ[name] for name in names if name in environ}

"""`python -m gleitzeit.stack`: a stack that nobody watches (see process/detached.py).

It ends when its coordinator does; with `--embedded` that is when its last client has left and nothing runs.
"""

import argparse
import asyncio
import functools
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from gleitzeit.config import FORMATS, default_folder
from gleitzeit.errors import ConfigurationError, GleitzeitError
from gleitzeit.process.detached import report_address, report_failure
from gleitzeit.process.lifetime import Lifetime
from gleitzeit.process.logs import LEVELS, configure
from gleitzeit.process.private import revealed
from gleitzeit.process.state import StackRunning, find_running
from gleitzeit.process.supervised import ChildEvent
from gleitzeit.stack import START_SECONDS, Stack, StackConfig, serve

_LOOK_AGAIN_SECONDS = 0.02  # while another stack starts or ends
_log = logging.getLogger("gleitzeit.stack")


def main(arguments: Sequence[str] | None = None) -> int:
    """Logs to stderr; the exit code is the coordinator's, 2 for what can never work."""
    options = _parser().parse_args(arguments)
    configure(options.log_level, options.log_format, service="stack")
    config = StackConfig(
        state=options.state,
        providers=tuple(name for name in options.provider.split(",") if name),
        listen=options.listen,
        nats=options.nats,
        cluster=options.cluster,
        journal=options.journal,
        journal_fallback=tuple(url for url in (options.journal_fallback or "").split(",") if url),
        resume=options.resume,
        embedded=options.embedded,
        drain_seconds=options.drain_seconds,
        log_level=options.log_level,
        log_format=options.log_format,
        allow_env=tuple(name for name in options.allow_env.split(",") if name),
        strategy=options.strategy,
        log_files=True,
    )
    try:
        return asyncio.run(_serve_detached(config, options.ready_fd))
    except (GleitzeitError, TimeoutError, OSError) as error:
        said = f"{options.state}: {error.strerror}" if isinstance(error, OSError) and error.strerror else str(error)
        _log.error("%s", said)
        usage = isinstance(error, ConfigurationError)
        report_failure(options.ready_fd, said, usage=usage)
        return 2 if usage else 1


async def _serve_detached(config: StackConfig, ready_fd: int) -> int:
    """Like `serve`; if another stack is here, or comes up at the same moment, its address is reported, not ours."""
    stack = Stack(config, on_event=_log_event)
    give_up = asyncio.get_running_loop().time() + START_SECONDS
    with Lifetime(on_kill=stack.kill) as lifetime:
        while True:
            try:
                return await serve(stack, lifetime, functools.partial(report_address, ready_fd))
            except StackRunning:
                running = find_running(config.state)
                if running is not None and await _listens(running.url):
                    report_address(ready_fd, running)
                    return 0
                if asyncio.get_running_loop().time() > give_up:
                    raise
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _listens(url: str) -> bool:
    """Whether anybody accepts a connection there: not so in the last moments of a stack."""
    parts = urlsplit(url)
    try:
        _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    except OSError:
        return False
    writer.close()
    return True


def _log_event(event: ChildEvent) -> None:
    level = logging.WARNING if event.kind == "died" else logging.INFO
    _log.log(level, "%s %s", event.child, event.kind, extra=msgspec.to_builtins(event))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gleitzeit.stack",
        description="NATS, coordinator and providers as one process that nobody watches. People use `gz up`; "
        "`gz run` starts this one with --embedded: it then ends when its last client has left and nothing runs.",
    )
    add = parser.add_argument
    add("--state", type=Path, default=default_folder(os.environ), help="the state folder (default: ~/.gleitzeit)")
    add("--provider", default="echo,python", metavar="NAME,…", help="the providers to start (default: echo,python)")
    add("--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="where the coordinator listens")
    add("--embedded", action="store_true", help="end with the last client")
    add("--ready-fd", type=int, default=-1, metavar="N", help="where to write the address, as one JSON line")
    add("--nats", metavar="URL", default=revealed("--nats"), help="a shared NATS (default: a private one)")
    add(
        "--cluster",
        metavar="ID",
        help="what tells us from other stacks on one NATS (default: that of the state folder)",
    )
    add("--journal", metavar="URL", default=revealed("--journal"), help="passed to the coordinator")
    fallback = revealed("--journal-fallback")
    add("--journal-fallback", metavar="URL,…", default=fallback, help="passed to the coordinator")
    add("--resume", choices=("none", "all"), help="passed to the coordinator")
    add("--drain-seconds", type=float, default=10.0, help="what a service may take to finish what runs (default: 10)")
    add("--allow-env", default="", metavar="NAME,…", help="passed to the coordinator")
    add("--strategy", metavar="NAME,…", help="passed to the coordinator")
    add("--log-level", choices=LEVELS, default="info")
    add("--log-format", choices=FORMATS, default="auto")
    return parser


if __name__ == "__main__":
    sys.exit(main())

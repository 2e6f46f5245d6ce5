"""`gz up`: the whole local stack in the foreground."""

import asyncio
import sys
from signal import SIGTERM

from gleitzeit.process.lifetime import Lifetime
from gleitzeit.process.logs import configure
from gleitzeit.process.state import Address, StackRunning
from gleitzeit.process.supervised import ChildEvent
from gleitzeit.stack import Stack, StackConfig, serve
from gz_cli.exits import INTERRUPTED
from gz_cli.stack.takeover import Takeover
from gz_cli.terminal.durations import clock, duration, now_ms
from gz_cli.terminal.ink import Ink, Span
from gz_cli.terminal.screen import has_colour
from gz_cli.terminal.talk import say


def run(config: StackConfig) -> int:
    """Until Ctrl-C or SIGTERM, by which everything is drained; a second one ends it at once. That is an orderly end,
    unless it comes before the stack is up."""
    configure(config.log_level, config.log_format, service="stack")
    return asyncio.run(_run(config))


async def _run(config: StackConfig) -> int:
    ink = Ink(colour=has_colour(sys.stderr))

    def tell(event: ChildEvent) -> None:
        print(ink.line(words(event, now_ms())), file=sys.stderr, flush=True)

    stack = Stack(config, on_event=tell)
    with Lifetime(on_kill=stack.kill) as lifetime:
        takeover = Takeover(lifetime)
        while True:
            try:
                code = await serve(stack, lifetime, _ready)
                break
            except StackRunning as running:
                if not await takeover.wait(running):
                    return INTERRUPTED
    if not stack.url:
        return INTERRUPTED
    say("stopped")
    return code


def _ready(address: Address) -> None:
    say(f"Gleitzeit is up at {address.url}  (Ctrl-C stops it)")


def words(event: ChildEvent, at_ms: int) -> list[Span]:
    """One line about one process."""
    style = {"died": "red", "restarting": "yellow", "ready": "green"}.get(event.kind, "")
    text: str = event.kind
    match event.kind:
        case "started":
            text = f"started (process {event.pid})"
        case "ready":
            text = f"ready{' at ' + event.url if event.url else ''}"
        case "died":
            text = f"died{_exit(event)}"
        case "restarting":
            text = f"starts again in {duration(event.delay_seconds or 0)}"
        case "stopped":
            asked = event.exit_code in (0, -SIGTERM)  # it had no time yet to learn to end in order
            text = "stopped" if asked else f"stopped{_exit(event)}"
    return [(clock(at_ms), "dim"), (f"  {event.child:<16} ", "bold"), (text, style)]


def _exit(event: ChildEvent) -> str:
    why = event.detail or (f"exit code {event.exit_code}" if event.exit_code is not None else "")
    return f": {why}" if why else ""

"""To find the coordinator, or to start one. Light, so that a stack is on its way before anything heavy is imported."""

import os
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from gleitzeit.process.detached import Detached, start_detached
from gleitzeit.process.state import Address, find_running
from gz_cli.exits import NotRunning

_MAY_NEED_MORE = (b"llm", b"ollama", b"http", b"shell")


class Target(Struct, frozen=True):
    """What the configuration and the options say. `url` None: the coordinator of the state folder.

    `journal` is the file that a stack of ours would open, None if it would be none. `stack_options` are further ones of
    its command line. `task_timeout_seconds` and `max_parallel` are for documents that say nothing themselves.
    """

    state: Path
    url: str | None = None
    token: str | None = None
    tls_ca: Path | None = None
    providers: tuple[str, ...] = ("echo", "python")
    journal: Path | None = None
    stack_options: tuple[str, ...] = ()
    task_timeout_seconds: float | None = None
    max_parallel: int | None = None
    allow_shell: bool = False
    retry_attempts: int | None = None
    error_policy: str | None = None
    auto_start: bool = True

    def with_providers(self, providers: tuple[str, ...]) -> "Target":
        return replace(self, providers=providers)


class Reach(Struct, frozen=True):
    """A coordinator that is there, or one that comes up. `address` is None as long as `detached` has not said it; both
    are while it is not decided what to start."""

    target: Target
    address: Address | None = None
    detached: Detached | None = None

    @property
    def begun(self) -> bool:
        return self.address is not None or self.detached is not None


def running(target: Target) -> Reach:
    """The coordinator that is configured or runs here. Raises NotRunning."""
    if target.url is not None:
        return Reach(target, Address(target.url, 0, token=target.token))
    found = find_running(target.state)
    if found is None:
        raise NotRunning(f"no coordinator runs with the state folder {target.state}")
    return Reach(target, found)


def running_or_started(target: Target) -> Reach:
    """The configured or running one, else an embedded stack, which ends when its last client has left."""
    try:
        return running(target)
    except NotRunning:
        return started(target)


def running_or_undecided(target: Target) -> Reach:
    """As above, but what a stack of ours must have is to be found out before it is started."""
    try:
        return running(target)
    except NotRunning:
        if not target.auto_start:
            raise
        return Reach(target)


def for_document(target: Target, content: bytes) -> Reach:
    """For what is to be run: a stack of ours is started at once, unless it may have to have other providers."""
    plain = content.replace(b"http:", b"").replace(b"https:", b"")  # URLs say nothing of it
    may_need_more = any(word in plain for word in _MAY_NEED_MORE)  # never wrongly false
    return running_or_undecided(target) if may_need_more else running_or_started(target)


def running_or_journal(target: Target) -> Reach:
    """As above, but a stack is started only to look into a journal that is there. Raises NotRunning."""
    if target.url is None and target.journal is not None and target.journal.exists():
        return running_or_started(target)
    return running(target)


def started(target: Target) -> Reach:
    """Raises NotRunning if nothing may be started by itself."""
    if not target.auto_start:
        raise NotRunning(f"no coordinator runs with the state folder {target.state}, and `auto_start` is false")
    detached = start_detached(
        target.state, providers=target.providers, environ=os.environ, options=target.stack_options
    )
    return Reach(target, detached=detached)

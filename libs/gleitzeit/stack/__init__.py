"""The local stack: NATS, coordinator and providers as child processes, each started again when it dies.

`gz up` runs a Stack in the foreground. `gz run` starts it detached, as `python -m gleitzeit.stack --embedded …`: see
`__main__`.

    stack.start ─ lock the folder ─ nats-server ──(its URL)──┬─ coordinator ──(its URL)── stack.json
                                     (16 ms)                 ├─ provider echo        all of them at the same time
                                                             └─ provider python
"""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from gleitzeit import __version__
from gleitzeit.config import read_token
from gleitzeit.process.children import Child, start_child
from gleitzeit.process.lifetime import Lifetime
from gleitzeit.process.logs import Format
from gleitzeit.process.nats_server import check_writable, find_nats_server, port_of, start_nats_server
from gleitzeit.process.programs import command_of
from gleitzeit.process.restart import Backoff
from gleitzeit.process.state import (
    Address,
    StateLock,
    cluster_id,
    lock_state,
    model_settings,
    publish_address,
    withdraw_address,
)
from gleitzeit.process.supervised import TRY_AGAIN, ChildEvent, Supervised, is_usage_error

START_SECONDS = 20.0  # for NATS and the coordinator to be ready each; covers a predecessor that still drains
COORDINATOR_RESTART_SECONDS = 5.0
"""At most: whoever finds none waits 10 s for it to be back, and without it nothing goes on."""
MARGIN_SECONDS = 3.0  # beyond its drain time, before a service is killed
COORDINATOR = "coordinator"
NATS_SERVER = "nats-server"
RESTART_MAX_SECONDS = "GLEITZEIT_RESTART_MAX_SECONDS"
"""The environment variable that says how long a process that dies again and again waits at most (30 s)."""

_T = TypeVar("_T")


class StackConfig(Struct, frozen=True, kw_only=True):
    """What to start.

    `listen` HOST:PORT is the coordinator's, port 0 any free one, which it keeps over restarts. `nats` is the URL of a
    shared server; without it a private one is started. `cluster` and `journal` have defaults in the state folder.
    `resume` (none, all), `token_file`, `tls_cert`, `tls_key`, `allow_env`, `allow_root`, `retention_*` and `strategy`
    are passed to the coordinator. A provider named twice is started twice. Without `log_files` our services write to
    our stderr, or all to `log_file`.
    """

    state: Path
    providers: tuple[str, ...] = ("echo", "python")
    listen: str = "127.0.0.1:0"
    nats: str | None = None
    cluster: str | None = None
    journal: str | None = None
    journal_fallback: tuple[str, ...] = ()
    resume: str | None = None
    token_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    allow_env: tuple[str, ...] = ()
    allow_root: tuple[Path, ...] = ()
    retention_seconds: float | None = None
    retention_count: int | None = None
    strategy: str | None = None
    embedded: bool = False
    drain_seconds: float = 10.0
    log_level: str = "info"
    log_format: Format = "auto"
    log_files: bool = False
    log_file: Path | None = None


class Stack:
    """Duties of the caller: `start` once; then `stop` once, also after a failed start, or `kill`.

    `commands` replaces the command line, up to its options, of `coordinator`, `nats-server` or a provider by its name.
    """

    def __init__(
        self,
        config: StackConfig,
        *,
        on_event: Callable[[ChildEvent], None] = lambda event: None,
        commands: Mapping[str, Sequence[str]] | None = None,
        environ: Mapping[str, str] | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self.url = ""
        self.nats_url = ""
        self._config = config
        self._on_event = on_event
        self._commands = dict(commands or {})
        self._environ = {**(os.environ if environ is None else environ), "GLEITZEIT_STATE": str(config.state)}
        most = self._environ.get(RESTART_MAX_SECONDS, "")
        self._backoff = backoff or (Backoff(max_seconds=float(most)) if most else Backoff())
        self._listen = config.listen
        self._cluster = ""
        self._lock: StateLock | None = None
        self._address: Address | None = None  # what stack.json says
        self._failures: tuple[str, ...] = ()
        self._parent_pipe: tuple[int, int] | None = None
        self._nats: Supervised | None = None
        self._coordinator: Supervised | None = None
        self._providers: list[Supervised] = []
        self._end: asyncio.Task[int] | None = None

    async def start(self) -> Address:
        """Returns its address when the coordinator is ready and stack.json is written; providers may still be starting.

        Raises StackRunning if another stack uses the folder, ConfigurationError for a provider that there is no program
        for and for a token that cannot be read, ChildExited if NATS or the coordinator cannot run, TimeoutError after
        START_SECONDS.
        """
        commands = [(name, self._command_for(name)) for name in self._config.providers]
        token = read_token(self._config.token_file) if self._config.token_file is not None else None
        self._lock = lock_state(self._config.state)
        self._parent_pipe = os.pipe()
        self.nats_url = self._config.nats or await self._start_nats()
        self._cluster = self._config.cluster or cluster_id(self._config.state)
        self._coordinator = self._supervise(COORDINATOR, self._start_coordinator)
        self._providers = [self._begin_provider(name, command) for name, command in _numbered(commands)]
        self._end = asyncio.create_task(self._coordinator.wait(), name="end of the stack")
        for child in (self._coordinator, *self._providers):
            await child.launched.wait()
        self.url = await _ready(self._coordinator)
        self._listen = _listen_address(self.url, self._listen)
        certificate = str(self._config.tls_cert) if self._config.tls_cert is not None else None
        self._address = Address(
            url_from_here(self.url),
            os.getpid(),
            self._config.embedded,
            __version__,
            token=token,
            certificate=certificate,
            failures=self._failures,
            providers=self._config.providers,
            settings=model_settings(self._environ),
        )
        publish_address(self._config.state, self._address)
        return self._address

    async def providers_ready(self) -> None:
        """Until each provider was ready once. Raises ChildExited if one never will be."""
        await asyncio.gather(*(provider.first_ready for provider in self._providers))

    async def wait(self) -> int:
        """Until the coordinator has ended for good; its exit code, 0 for the orderly end of an embedded stack."""
        assert self._end is not None, "start() comes first"
        return await asyncio.shield(self._end)

    async def stop(self) -> None:
        """Drain and stop the coordinator, then the providers, then NATS; leave the folder."""
        grace_seconds = self._config.drain_seconds + MARGIN_SECONDS
        self._withdraw()
        if self._coordinator is not None:
            await self._coordinator.stop(grace_seconds)
        await asyncio.gather(*(provider.stop(grace_seconds) for provider in self._providers))
        if self._nats is not None:
            await self._nats.stop(MARGIN_SECONDS)
        self._let_go()

    def kill(self) -> None:
        """End every process of the stack now. What the journal holds is safe; calls that run are lost."""
        for child in (self._coordinator, *self._providers, self._nats):
            if child is not None:
                child.kill()
        self._withdraw()

    def _withdraw(self) -> None:
        self._address = None
        if self._lock is not None:
            withdraw_address(self._config.state)

    def _let_go(self) -> None:
        if self._parent_pipe is not None:
            for descriptor in self._parent_pipe:
                os.close(descriptor)
            self._parent_pipe = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    async def _start_nats(self) -> str:
        if NATS_SERVER not in self._commands:
            self._commands[NATS_SERVER] = [find_nats_server(self._environ.get("PATH"))]
        check_writable(self._config.state / "nats")
        self._nats = self._supervise(NATS_SERVER, self._start_nats_server)
        return await _ready(self._nats)

    async def _start_nats_server(self) -> Child:
        """At its first port again, when it has died: the services know only that one."""
        return await start_nats_server(
            self._config.state / "nats",
            environ=self._environ,
            port=port_of(self.nats_url),
            log=self._log_file(NATS_SERVER),
            command=self._commands[NATS_SERVER],
        )

    async def _start_coordinator(self) -> Child:
        config = self._config
        settings = {
            "--listen": self._listen,
            "--state": str(config.state),
            "--drain-seconds": f"{config.drain_seconds:g}",
            "--journal": config.journal,
            "--journal-fallback": ",".join(config.journal_fallback) or None,
            "--resume": config.resume,
            "--expect": ",".join(config.providers) or None,
            "--token-file": config.token_file,
            "--tls-cert": config.tls_cert,
            "--tls-key": config.tls_key,
            "--allow-env": ",".join(config.allow_env) or None,
            "--retention": config.retention_seconds,
            "--retention-count": config.retention_count,
            "--strategy": config.strategy,
        }
        options = [word for name, value in settings.items() if value is not None for word in (name, str(value))]
        options += [word for root in config.allow_root for word in ("--allow-root", str(root))]
        options += ["--embedded"] if config.embedded else []
        command = self._commands.get(COORDINATOR, (sys.executable, "-m", "gz_coordinator"))
        return await self._start_service(COORDINATOR, [*command, *options])

    def _begin_provider(self, name: str, command: Sequence[str]) -> Supervised:
        async def start() -> Child:
            return await self._start_service(name, command)

        provider = self._supervise(name, start)
        provider.first_ready.add_done_callback(self._note_failure)
        return provider

    def _note_failure(self, ready: asyncio.Future[str]) -> None:
        """Of a provider that will never be ready, so that who finds the stack need not wait for it."""
        if ready.cancelled() or ready.exception() is None:
            return
        self._failures = (*self._failures, str(ready.exception()))
        if self._address is not None:
            self._address = replace(self._address, failures=self._failures)
            publish_address(self._config.state, self._address)

    async def _start_service(self, name: str, command: Sequence[str]) -> Child:
        assert self._parent_pipe is not None, "services live between start() and stop()"
        common = ["--nats", self.nats_url, "--cluster", self._cluster]
        logs = ["--log-level", self._config.log_level, "--log-format", self._config.log_format]
        return await start_child(
            name,
            [*command, *common, *logs],
            environ=self._environ,
            log=self._log_file(name),
            parent_fd=self._parent_pipe[0],
        )

    def _supervise(self, name: str, start: Callable[[], Awaitable[Child]]) -> Supervised:
        is_end = self._is_end if name == COORDINATOR else is_usage_error
        backoff = self._backoff
        if name == COORDINATOR:
            most = min(backoff.max_seconds, COORDINATOR_RESTART_SECONDS)
            backoff = replace(backoff, max_seconds=most)
        supervised = Supervised(name, start, on_event=self._on_event, is_end=is_end, backoff=backoff)
        supervised.begin()
        return supervised

    def _is_end(self, code: int) -> bool:
        """A coordinator that never was ready is tried again only if it asks for it; one that was, however it died."""
        if not self.url:
            return code != TRY_AGAIN
        return is_usage_error(code) or (code == 0 and self._config.embedded)

    def _log_file(self, name: str) -> Path | None:
        """NATS says only what nobody wants to read on a terminal."""
        to_file = self._config.log_files or name == NATS_SERVER
        return self._config.state / "logs" / f"{name}.log" if to_file else self._config.log_file

    def _command_for(self, provider: str) -> Sequence[str]:
        if provider in self._commands:
            return self._commands[provider]
        return command_of(provider, self._environ)


async def serve(stack: Stack, lifetime: Lifetime, on_ready: Callable[[Address], None]) -> int:
    """The whole life of a stack: until it ends by itself, or until `lifetime` drains. Returns an exit code.

    Raises what `Stack.start` raises. Whatever happens, nothing of the stack is running afterwards.
    """
    try:
        address = await _unless_drained(stack.start(), lifetime)
        if address is None:
            return 0
        on_ready(address)
        return await _unless_drained(stack.wait(), lifetime) or 0
    finally:
        await stack.stop()


async def _unless_drained(work: Coroutine[Any, Any, _T], lifetime: Lifetime) -> _T | None:
    """What `work` returns or raises; None, and it is cancelled, if the drain comes first."""
    task = asyncio.create_task(work)
    drain = asyncio.create_task(lifetime.drain.wait())
    try:
        await asyncio.wait({task, drain}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for pending in (task, drain):
            pending.cancel()
        await asyncio.gather(task, drain, return_exceptions=True)


async def _ready(child: Supervised) -> str:
    """Its url, once it is ready; a TimeoutError says what became of it until then."""
    try:
        async with asyncio.timeout(START_SECONDS):
            return await asyncio.shield(child.first_ready)
    except TimeoutError:
        said = f"; the last one {child.last_death}" if child.last_death else ""
        raise TimeoutError(f"{child.name} was not ready in {START_SECONDS:g} s{said}") from None


def _numbered(commands: Sequence[tuple[str, Sequence[str]]]) -> Iterator[tuple[str, Sequence[str]]]:
    """Names for the processes: provider-echo, and provider-echo-2 for the second of a kind."""
    seen: Counter[str] = Counter()
    for name, command in commands:
        seen[name] += 1
        yield f"provider-{name}" + (f"-{seen[name]}" if seen[name] > 1 else ""), command


def _listen_address(url: str, listen: str) -> str:
    """The host that was asked for, with the port that came of it."""
    return f"{listen.rpartition(':')[0]}:{urlsplit(url).port}"


def url_from_here(url: str) -> str:
    """Who listens at all addresses of the machine is reached at the one that does not leave it."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")

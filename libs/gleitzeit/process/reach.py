"""To find the coordinator, or to start one. Light, so that a stack is on its way before anything heavy is imported."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from signal import SIGTERM

from msgspec import Struct
from msgspec.structs import replace

from gleitzeit.config import Config
from gleitzeit.process.absent import NotRunning
from gleitzeit.process.detached import Detached, start_detached
from gleitzeit.process.state import Address, find_running

SQLITE = "sqlite://"
_DEFAULT = "default"
_OF_THE_STACK = (
    ("journal", "--journal"),
    ("journal_fallback", "--journal-fallback"),
    ("nats_url", "--nats"),
    ("cluster", "--cluster"),
    ("log_level", "--log-level"),
    ("log_format", "--log-format"),
    ("allow_env", "--allow-env"),
    ("strategy", "--strategy"),
)
_OF_PROVIDERS = (
    ("default_model", "GLEITZEIT_DEFAULT_MODEL"),
    ("ollama_url", "GLEITZEIT_OLLAMA_URL"),
    ("llm_idle_timeout_seconds", "GLEITZEIT_LLM_IDLE_TIMEOUT"),
)


class Target(Struct, frozen=True):
    """What the configuration and the options say. `url` None: the coordinator of the state folder.

    `asked` are the providers that were named for this command alone. `journal` is the file that a stack of ours would
    open, None if it would be none. `stack_options` are further ones of its command line. `task_timeout_seconds` and
    `max_parallel` are for documents that say nothing themselves.
    """

    state: Path
    url: str | None = None
    token: str | None = None
    tls_ca: Path | None = None
    providers: tuple[str, ...] = ("echo", "python")
    asked: tuple[str, ...] = ()
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
    are while it is not decided what to start. `note` is what somebody should know about the choice. `no_model` says why
    a stack of ours could not have the model that is needed: what is joined may have it.
    """

    target: Target
    address: Address | None = None
    detached: Detached | None = None
    note: str = ""
    no_model: str = ""

    @property
    def begun(self) -> bool:
        return self.address is not None or self.detached is not None


def target_of(config: Config) -> Target:
    return Target(
        state=config.state_dir,
        url=config.coordinator_url,
        token=config.token,
        tls_ca=config.tls_ca,
        providers=config.providers,
        journal=Path(config.journal.removeprefix(SQLITE)) if config.journal.startswith(SQLITE) else None,
        stack_options=tuple(_stack_options(config)),
        task_timeout_seconds=config.default_timeout_seconds,
        max_parallel=config.max_parallel,
        allow_shell=config.allow_shell,
        retry_attempts=config.retry_attempts,
        error_policy=config.error_policy,
        auto_start=config.auto_start,
    )


def _stack_options(config: Config) -> list[str]:
    """What an embedded stack must be told, because it reads no configuration of its own."""
    options = []
    for field, option in _OF_THE_STACK:
        value = given(config, field)
        options += [option, value] if value is not None else []
    return options


def for_providers(config: Config) -> dict[str, str]:
    """What they read from their environment, as far as somebody has set it."""
    found = ((variable, given(config, field)) for field, variable in _OF_PROVIDERS)
    return {variable: value for variable, value in found if value is not None}


def given(config: Config, field: str) -> str | None:
    """The value, if somebody has set it."""
    value = getattr(config, field)
    if value is None or config.sources[field] == _DEFAULT:
        return None
    return ",".join(value) if isinstance(value, tuple) else str(value)


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


def started(target: Target, environ: Mapping[str, str] | None = None) -> Reach:
    """`environ` is what its providers see; None: ours. Raises NotRunning if nothing may be started by itself."""
    if not target.auto_start:
        raise NotRunning(f"no coordinator runs with the state folder {target.state}, and `auto_start` is false")
    environ = os.environ if environ is None else environ
    detached = start_detached(target.state, providers=target.providers, environ=environ, options=target.stack_options)
    return Reach(target, detached=detached)


def dismiss(reach: Reach) -> None:
    """End a stack that was started for nothing, before anybody has asked where it is."""
    if reach.detached is not None:
        reach.detached.abandon()
        with suppress(ProcessLookupError):
            os.kill(reach.detached.pid, SIGTERM)

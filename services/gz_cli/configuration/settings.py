"""From options, environment and configuration file to what a command works with."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gleitzeit.config import Config, default_folder, home_folder, load_config
from gleitzeit.process.programs import require_all
from gleitzeit.process.reach import Target, for_providers, given, target_of
from gz_cli.formats import Format
from gz_cli.terminal.talk import put, say

if TYPE_CHECKING:
    from gleitzeit.stack import StackConfig


def configured(**arguments: object) -> Config:
    """All layers together; options that are None were not given. Warnings are said. Raises ConfigurationError."""
    config = load_config(os.environ, home_folder(), arguments)
    for warning in config.warnings:
        say(f"warning: {warning}")
    os.environ.update(for_providers(config))
    return config


def target(
    url: str | None,
    state: Path | None,
    provider: str | None = None,
    *,
    task_timeout: str | None = None,
    max_parallel: int | None = None,
    allow_shell: bool = False,
) -> Target:
    """Where the coordinator is, how to start one, and what to put into documents. Raises ConfigurationError for a
    `provider` that there is no program for, also where one of those that run would do."""
    config = configured(
        coordinator_url=url,
        state_dir=text(state),
        providers=provider,
        default_timeout_seconds=task_timeout,
        max_parallel=max_parallel,
        allow_shell=True if allow_shell else None,
    )
    if provider is not None:
        require_all(config.providers, os.environ)
    found = replace(target_of(config), asked=config.providers if provider is not None else ())
    return replace(found, url=None) if state is not None and url is None else found


def state_folder(state: Path | None) -> Path:
    """For who only looks into it."""
    return state.absolute() if state is not None else default_folder(os.environ)


def stack(**arguments: object) -> "StackConfig":
    """For a stack in the foreground; `arguments` are settings, as of `configured`."""
    from gleitzeit.stack import StackConfig  # asyncio and more, which no other command needs

    config = configured(**arguments)
    return StackConfig(
        state=config.state_dir,
        providers=config.providers,
        listen=config.listen,
        nats=config.nats_url,
        cluster=config.cluster,
        journal=given(config, "journal"),
        journal_fallback=config.journal_fallback,
        resume="all",
        token_file=config.token_file,
        tls_cert=config.tls_cert,
        tls_key=config.tls_key,
        allow_env=config.allow_env,
        allow_root=config.allow_root,
        retention_seconds=config.retention_seconds,
        retention_count=config.retention_count,
        strategy=config.strategy,
        log_level=given(config, "log_level") or "warning",  # what happens is told as events; logs are for trouble
        log_format=config.log_format,
        log_file=config.log_file,
    )


def show(output: Format) -> int:
    """Every setting, with where its value comes from."""
    from gz_cli.terminal.output import encode
    from gz_cli.terminal.table import fitted

    rows = list(configured().shown())
    if output in (Format.JSON, Format.YAML):
        put(encode({key: {"value": value, "source": source} for key, value, source in rows}, output))
    elif output is Format.ID:
        put("\n".join(key for key, _, _ in rows))
    else:
        put(fitted(("setting", "value", "from"), rows))
    return 0


def text(path: Path | None) -> str | None:
    return None if path is None else str(path)

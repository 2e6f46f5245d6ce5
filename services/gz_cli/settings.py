"""From options, environment and configuration file to what a command works with."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from gleitzeit.config import Config, load_config
from gz_cli.formats import Format
from gz_cli.launch import Target
from gz_cli.talk import put, say

if TYPE_CHECKING:
    from gleitzeit.stack import StackConfig

DEFAULT = "default"
SQLITE = "sqlite://"


def configured(**arguments: object) -> Config:
    """All layers together; options that are None were not given. Warnings are said. Raises ConfigurationError."""
    config = load_config(os.environ, Path.home(), arguments)
    for warning in config.warnings:
        say(f"warning: {warning}")
    _export(config)
    return config


def _export(config: Config) -> None:
    """What providers read from their environment, for this process and for what it starts."""
    for field, variable in (
        ("default_model", "GLEITZEIT_DEFAULT_MODEL"),
        ("ollama_url", "GLEITZEIT_OLLAMA_URL"),
        ("llm_idle_timeout_seconds", "GLEITZEIT_LLM_IDLE_TIMEOUT"),
    ):
        if (value := _given(config, field)) is not None:
            os.environ[variable] = value


def target(
    url: str | None,
    state: Path | None,
    provider: str | None = None,
    *,
    task_timeout: str | None = None,
    max_parallel: int | None = None,
    allow_shell: bool = False,
) -> Target:
    """Where the coordinator is, how to start one, and what to put into documents."""
    config = configured(
        coordinator_url=url,
        state_dir=text(state),
        providers=provider,
        default_timeout_seconds=task_timeout,
        max_parallel=max_parallel,
        allow_shell=True if allow_shell else None,
    )
    return Target(
        state=config.state_dir,
        url=None if state is not None and url is None else config.coordinator_url,
        token=config.token,
        tls_ca=config.tls_ca,
        providers=config.providers,
        journal=_journal_file(config),
        stack_options=tuple(_stack_options(config)),
        task_timeout_seconds=config.default_timeout_seconds,
        max_parallel=config.max_parallel,
        allow_shell=config.allow_shell,
        retry_attempts=config.retry_attempts,
        error_policy=config.error_policy,
        auto_start=config.auto_start,
    )


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
        journal=_given(config, "journal"),
        resume="all",
        token_file=config.token_file,
        tls_cert=config.tls_cert,
        tls_key=config.tls_key,
        allow_env=config.allow_env,
        log_level=_given(config, "log_level") or "warning",  # what happens is told as events; logs are for trouble
        log_format=config.log_format,
        log_file=config.log_file,
    )


def show(output: Format) -> int:
    """Every setting, with where its value comes from."""
    from gz_cli.output import encode
    from gz_cli.table import table

    rows = list(configured().shown())
    if output in (Format.JSON, Format.YAML):
        put(encode({key: {"value": value, "source": source} for key, value, source in rows}, output))
    else:
        put(table(("setting", "value", "from"), rows))
    return 0


def _stack_options(config: Config) -> list[str]:
    """What an embedded stack must be told, because it reads no configuration of its own."""
    options = []
    for field, option in (
        ("journal", "--journal"),
        ("nats_url", "--nats"),
        ("cluster", "--cluster"),
        ("log_level", "--log-level"),
        ("log_format", "--log-format"),
        ("allow_env", "--allow-env"),
    ):
        value = _given(config, field)
        options += [option, value] if value is not None else []
    return options


def _given(config: Config, field: str) -> str | None:
    """The value, if somebody has set it."""
    value = getattr(config, field)
    if value is None or config.sources[field] == DEFAULT:
        return None
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _journal_file(config: Config) -> Path | None:
    return Path(config.journal.removeprefix(SQLITE)) if config.journal.startswith(SQLITE) else None


def text(path: Path | None) -> str | None:
    return None if path is None else str(path)

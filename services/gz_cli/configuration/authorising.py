"""`gz auth init|login|status`: the token that clients present to a coordinator."""

import os
import secrets
from pathlib import Path

from gleitzeit.process.absent import NotRunning
from gleitzeit.process.reach import Target, running
from gz_cli import exits
from gz_cli.configuration import configuring, settings
from gz_cli.configuration.private import given
from gz_cli.connect import connected
from gz_cli.exits import UsageError
from gz_cli.formats import Format
from gz_cli.terminal.output import encode
from gz_cli.terminal.table import pairs
from gz_cli.terminal.talk import put, say


def init(state: Path) -> int:
    """A new token in a file that only its owner can read; its path on stdout."""
    file = state / "token"
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(f"{file} is there already; remove it first if it is to be another one") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as private:
        private.write(f"{secrets.token_urlsafe(32)}\n")
    say(f"`gz up --token-file {file}` asks clients for it; elsewhere, `gz auth login --file FILE` makes gz present it")
    put(str(file))
    return exits.OK


def login(file: Path | None) -> int:
    """Into the configuration file. Never from the command line, where others could read it."""
    return configuring.put_value("token", given("token", "token", file).strip())


async def status(target: Target, output: Format) -> int:
    """Raises Unauthorized where another token is wanted, ConnectionLost."""
    config = settings.configured()
    token = f"set ({config.sources['token']})" if config.token else "none is configured"
    try:
        reach = running(target)
    except NotRunning as error:
        url, access = None, f"nobody to ask: {error.message}"
    else:
        async with connected(reach) as client:
            url = (await client.status()).url
        access = f"yes, to {url}"
    if output in (Format.JSON, Format.YAML):
        put(encode({"token": config.sources["token"] if config.token else None, "url": url, "access": access}, output))
    else:
        put(url or "" if output is Format.ID else pairs([("token", token), ("access", access)]))
    return exits.OK

"""`gz secret set|list|delete`: files that only their owner can read, one for each secret."""

import difflib
import os
from pathlib import Path

from gleitzeit.config import secrets_folder
from gleitzeit.model.secrets import NAME
from gz_cli import exits
from gz_cli.configuration.private import given
from gz_cli.exits import UsageError
from gz_cli.formats import Format
from gz_cli.terminal.output import encode
from gz_cli.terminal.talk import put, say


def put_secret(name: str, file: Path | None, state: Path) -> int:
    """The whole of a file or of stdin, without the end of its last line. Raises UsageError for what cannot be one."""
    kept = _file_of(name, state)
    value = given("secret", name, file)
    kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = kept.with_name(f".{name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as private:
        private.write(value)
    draft.replace(kept)
    say(f"kept; '${{secrets.{name}}}' in the params of a task reads it where its provider runs on this machine")
    return exits.OK


def listed(state: Path, output: Format) -> int:
    names = _names(state)
    if output in (Format.TEXT, Format.ID):
        for name in names:
            put(name)
    else:
        put(encode([{"name": name} for name in names], output))
    if not names and output is Format.TEXT:
        say("no secrets; `gz secret set NAME` keeps one")
    return exits.OK


def forget(name: str, state: Path) -> int:
    try:
        _file_of(name, state).unlink()
    except FileNotFoundError:
        near = difflib.get_close_matches(name, _names(state), n=1)
        say(f"there is no secret '{name}'" + (f" (did you mean '{near[0]}'?)" if near else ""))
        return exits.NOT_FOUND
    return exits.OK


def _file_of(name: str, state: Path) -> Path:
    if NAME.fullmatch(name) is None:
        raise UsageError(f"'{name}' is no name of a secret: letters, digits and '_', as in API_KEY")
    return secrets_folder(os.environ, state) / name


def _names(state: Path) -> list[str]:
    folder = secrets_folder(os.environ, state)
    try:
        return sorted(entry.name for entry in folder.iterdir() if NAME.fullmatch(entry.name))
    except FileNotFoundError:
        return []

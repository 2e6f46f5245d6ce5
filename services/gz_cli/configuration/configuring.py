"""`gz config get|set|validate|profiles|init`: the configuration file."""

import os
import re
from pathlib import Path

from gleitzeit.config import SETTINGS, home_folder, load_config
from gleitzeit.errors import ConfigurationError
from gleitzeit.schemas.words import near
from gleitzeit.spec.loading.load import load_text
from gz_cli import exits
from gz_cli.configuration import settings
from gz_cli.exits import UsageError
from gz_cli.formats import Format
from gz_cli.terminal.output import encode
from gz_cli.terminal.talk import put, say

SHOWS_ALL = "`gz config show` has all of them"


def get(key: str, output: Format) -> int:
    for name, value, source in settings.configured().shown():
        if name == key.replace("-", "_"):
            data = {name: {"value": value, "source": source}}  # as `gz config show` has it
            put(name if output is Format.ID else value if output is Format.TEXT else encode(data, output))
            return exits.OK
    raise _no_setting(key)


def _no_setting(key: str) -> UsageError:
    meant = near(key, SETTINGS)
    return UsageError(f"there is no setting {key!r}; " + (f"did you mean {meant!r}?" if meant else SHOWS_ALL))


def put_value(key: str, value: str) -> int:
    """Into the file as it is, comments and all. Nothing is written that would be refused when it is read."""
    name = key.replace("-", "_")
    if name not in SETTINGS:
        raise _no_setting(key)
    file = _file()
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    line = f"{name}: {_quoted(value)}"
    made, count = re.subn(rf"^{re.escape(name)}:.*$", lambda _: line, text, count=1, flags=re.MULTILINE)
    if not count:
        made = f"{text.rstrip()}\n{line}\n".lstrip()
    _check(made)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = file.with_name(f".{file.name}.new")
    beside.touch(mode=0o600)  # it may hold a token
    beside.write_text(made, encoding="utf-8")
    beside.replace(file)
    say(f"{file}: {name} is set")
    return exits.OK


def check(file: Path | None, output: Format) -> int:
    """Raises ConfigurationError with every problem, unless data is wanted: then they are some."""
    environ = {**os.environ, "GLEITZEIT_CONFIG": str(file)} if file is not None else dict(os.environ)
    name = str(file or _file())
    try:
        warnings = load_config(environ, home_folder()).warnings
    except ConfigurationError as error:
        if output in (Format.TEXT, Format.ID):
            raise
        problems = (error.data or {}).get("problems", [error.message])
        put(encode({"file": name, "errors": problems, "warnings": []}, output))
        return exits.USAGE
    if output in (Format.JSON, Format.YAML):
        put(encode({"file": name, "errors": [], "warnings": warnings}, output))
        return exits.OK
    for warning in warnings:
        say(f"warning: {warning}")
    put(name if output is Format.ID else f"{name}: ok")
    return exits.OK


def profiles(output: Format) -> int:
    file = _file()
    value = load_text(file.read_bytes(), name=str(file)).value if file.exists() else {}
    found = value.get("profiles") if isinstance(value, dict) else None
    names = list(found) if isinstance(found, dict) else []
    put("\n".join(names) if output in (Format.TEXT, Format.ID) else encode(names, output))
    return exits.OK


def create() -> int:
    file = _file()
    if file.exists():
        raise UsageError(f"{file} is there already")
    lines = [f"# {key}: {value}" for key, value, _ in settings.configured().shown()]
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.write_text("\n".join(["# What is not commented out overrides the default; README.md says more.", *lines, ""]))
    put(str(file))
    return exits.OK


def _check(text: str) -> None:
    from gleitzeit.config import make_config

    make_config(text.encode(), _file(), {}, home=home_folder(), folder=Path.cwd(), arguments={})


def _quoted(value: str) -> str:
    """As YAML reads it as the same text, list or number again."""
    return value if re.fullmatch(r"[\w./:@,+~-]+|\[.*\]", value) and not value.endswith(":") else repr(value)


def _file() -> Path:
    named = os.environ.get("GLEITZEIT_CONFIG")
    return Path(named).expanduser() if named else home_folder() / ".gleitzeit" / "config.yaml"

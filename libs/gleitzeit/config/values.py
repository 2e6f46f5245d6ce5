"""Values of settings, from texts or from YAML. What is wrong is a ValueError, in words for its author."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

from gleitzeit.spec.durations import parse_duration
from gleitzeit.spec.loading.scalars import whole_number
from gleitzeit.spec.strategies import read_strategies
from gleitzeit.spec.urls import ESCAPES, is_address, shown

LEVELS = ("debug", "info", "warning", "error")
LogFormat = Literal["auto", "text", "json"]
FORMATS = get_args(LogFormat)
POLICIES = ("isolate", "fail_fast", "continue")
MOST_PARALLEL = 100_000  # as many as a workflow has tasks
MOST_ATTEMPTS = 100
WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"expected a text, not {kind(value)}")
    return value.strip()


def secret(value: object) -> str:
    given = text(value)
    if not given.isprintable() or not given.isascii() or " " in given:
        raise ValueError("expected printable ASCII without spaces")
    return given


def names(value: object) -> tuple[str, ...]:
    """`[echo, python]` or `echo,python`; each once, in order."""
    listed = value.split(",") if isinstance(value, str) else value
    if not isinstance(listed, list | tuple):
        raise ValueError(f"expected names, such as echo,python, not {kind(value)}")
    found = tuple(dict.fromkeys(str(name).strip() for name in listed if str(name).strip()))
    for name in found:
        if re.fullmatch(r"[A-Za-z0-9_.-]+", name) is None:
            raise ValueError(f"{name[:40]!r} is not a name: expected letters, digits, _ . and -")
    return found


def folders(value: object) -> tuple[str, ...]:
    """`[/data, ~/docs]`, or `/data:~/docs` as one text."""
    listed = value.split(":") if isinstance(value, str) else value
    if not isinstance(listed, list | tuple):
        raise ValueError(f"expected folders, such as /data, not {kind(value)}")
    return tuple(dict.fromkeys(str(one).strip() for one in listed if str(one).strip()))


def absolute_folders(found: Any, home: Path, folder: Path) -> tuple[Path, ...]:
    return tuple(absolute(one, home, folder) for one in found)


def listen(value: object) -> str:
    host, _, port = text(value).rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"expected HOST:PORT, such as 127.0.0.1:8765, not {str(value)[:60]!r}")
    return f"{host}:{port}"


def socket_url(value: object) -> str:
    """Earlier versions spoke HTTP: the same place is meant."""
    given = text(value)
    for earlier, now in (("http://", "ws://"), ("https://", "wss://")):
        given = now + given.removeprefix(earlier) if given.startswith(earlier) else given
    url = given if "://" in given else f"ws://{given}"
    if not is_address(url, ("ws", "wss")):
        raise ValueError(f"expected ws://HOST:PORT or wss://HOST:PORT, not {shown(given)[:80]!r}")
    return url


def nats_url(value: object) -> str:
    given = text(value)
    url = given if "://" in given else f"nats://{given}"
    if not is_address(url, ("nats", "tls", "ws", "wss")):
        raise ValueError(f"expected nats://HOST:PORT; {ESCAPES}")
    return url


def urls(value: object) -> str:
    """`http://a, b:11434` or a list of them, also as JSON: with commas."""
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError("expected URLs with commas between them") from None
    if not isinstance(value, list):
        return text(value)
    return ",".join(text(one) for one in value)


def cluster(value: object) -> str:
    given = text(value)
    if re.fullmatch(r"[A-Za-z0-9_-]+", given) is None:
        raise ValueError(f"expected letters, digits, - and _, not {given[:40]!r}")
    return given


def one_of(known: tuple[str, ...]) -> Callable[[object], str]:
    def parse(value: object) -> str:
        given = text(value).lower()
        if given not in known:
            raise ValueError(f"expected {', '.join(known)}, not {given[:40]!r}")
        return given

    return parse


def flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in WORDS:
        return WORDS[value.strip().lower()]
    raise ValueError(f"expected true or false, not {str(value)[:40]!r}")


def count(value: object) -> int:
    return whole(value, 1, MOST_PARALLEL)


def number(value: object) -> int:
    return whole(value, 1, 1_000_000_000)


def whole(value: object, least: int, most: int) -> int:
    number = int(value) if isinstance(value, str) and value.strip().isdecimal() else value
    found = whole_number(number)
    if found is None or not least <= found <= most:
        raise ValueError(f"expected a whole number from {least} to {most}, not {str(value)[:40]!r}")
    return found


def seconds(value: object) -> float:
    number = parse_duration(value)
    if not number:
        raise ValueError("expected more than 0 seconds; leave it out for no limit")
    return number


def journal(value: object) -> str:
    """ "" for the default, which lies in the state folder."""
    given = text(value)
    earlier = {"memory": "memory:", "sqlite": "", "auto": "", "redis": "redis://127.0.0.1:6379/0"}
    return earlier.get(given.lower(), given)


def journals(value: object) -> tuple[str, ...]:
    """`[sqlite:///…, memory:]`, or with commas."""
    listed = value.split(",") if isinstance(value, str) else value
    if not isinstance(listed, list | tuple):
        raise ValueError(f"expected journals, such as sqlite:///PATH,memory:, not {kind(value)}")
    return tuple(journal(url) for url in listed if str(url).strip())


def strategies(value: object) -> str:
    """`round_robin`, or with commas, or `{llm: model_affinity}`."""
    if isinstance(value, dict):
        value = ",".join(f"{subject}={name}" for subject, name in value.items())
    given = text(value)
    read_strategies(given)
    return given


def attempts(value: object) -> int:
    return whole(value, 1, MOST_ATTEMPTS)


def kind(value: object) -> str:
    kinds = {str: "an empty one", bool: "true or false", int: "a number", float: "a number", list: "a list"}
    return kinds.get(type(value), "a mapping")


def absolute(path: str, home: Path, folder: Path) -> Path:
    if path == "~" or path.startswith("~/"):
        return home / path[2:]
    return folder / path


def absolute_journal(url: str, home: Path, folder: Path) -> str:
    scheme, found, path = url.partition("://")
    if found and scheme == "sqlite" and path:
        return f"sqlite://{absolute(path, home, folder)}"
    if url and not found and not url.startswith("memory:"):
        return f"sqlite://{absolute(url, home, folder)}"
    return url


def absolute_journals(urls: tuple[str, ...], home: Path, folder: Path) -> tuple[str, ...]:
    return tuple(absolute_journal(url, home, folder) for url in urls)

"""What a user has configured: defaults < ~/.gleitzeit/config.yaml < GLEITZEIT_* < arguments.

Each layer is checked as a whole, also where a later one wins, and all problems are reported at once. Spellings of
earlier versions are accepted; what nobody knows is a warning, with the word that was probably meant.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from gleitzeit.errors import ConfigurationError, DocumentError
from gleitzeit.spec.durations import parse_duration

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("auto", "text", "json")
MOST_PARALLEL = 100_000  # as many as a workflow has tasks
_FOLDER = ".gleitzeit"  # in the home
_SECRET = frozenset({"token"})


class Config(Struct, frozen=True, kw_only=True):
    """Paths are absolute. None: not configured.

    `sources` says for each field where its value is from, in words for people; `warnings` are sentences for them.
    """

    state_dir: Path
    journal: str
    """As `gleitzeit.journal.open_journal` takes it."""
    coordinator_url: str | None = None
    """None: the coordinator of the state folder."""
    token: str | None = None
    """What we present to `coordinator_url`."""
    tls_ca: Path | None = None
    """Certificates (PEM) that are trusted, instead of the system's, where `coordinator_url` is wss://…"""
    listen: str = "127.0.0.1:8765"
    """Of `gz up`, as the next three: what clients must present, and what they are shown."""
    token_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    nats_url: str | None = None
    cluster: str | None = None
    providers: tuple[str, ...] = ("echo", "python")
    log_level: str = "info"
    log_format: str = "auto"
    default_timeout_seconds: float | None = None
    """For one attempt of a task that says nothing itself; put into the document by who submits it."""
    max_parallel: int | None = None
    """Of a workflow that says nothing itself; as above."""
    allow_shell: bool = False
    """Whether documents may run commands on this machine, in a stack that `gz run` starts."""
    allow_env: tuple[str, ...] = ()
    """The environment variables of a coordinator of ours that any document may read."""
    sources: dict[str, str] = {}
    warnings: tuple[str, ...] = ()

    def shown(self) -> Iterator[tuple[str, str, str]]:
        """`(key, value, source)` of each setting, fit to be seen: secrets are stars."""
        for key in SETTINGS:
            yield key, _shown(key, getattr(self, key)), self.sources[key]

    def __repr__(self) -> str:
        return f"Config({', '.join(f'{key}={value}' for key, value, _ in self.shown())})"


def _shown(key: str, value: object) -> str:
    if value is None:
        return ""
    if key in _SECRET:
        return "***"
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool):
        return str(value).lower()
    return re.sub(r"//[^@/]*@", "//***@", str(value))  # a URL may hold a password


def load_config(environ: Mapping[str, str], home: Path, arguments: Mapping[str, object] | None = None) -> Config:
    """Read the file and put the layers together. An argument that is None was not given.

    Raises ConfigurationError that lists all problems, each with its source, line and key.
    """
    named = environ.get("GLEITZEIT_CONFIG")
    file = Path(_absolute(named, home, Path.cwd())) if named else home / _FOLDER / "config.yaml"
    text = read_text(file, must_exist=bool(named))
    return make_config(text, file, environ, home=home, folder=Path.cwd(), arguments=arguments or {})


def default_folder(environ: Mapping[str, str]) -> Path:
    """The state folder of a service that nobody has told one, and that reads no configuration."""
    name = _first(environ, SETTINGS["state_dir"].variables)
    return Path.home() / _FOLDER if name is None else _absolute(environ[name], Path.home(), Path.cwd())


def read_token(file: Path) -> str:
    """The token that stands in a `token_file`. Raises ConfigurationError."""
    try:
        return _secret(file.read_text(errors="replace").strip())
    except OSError as error:
        raise ConfigurationError(f"the token file {file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(f"the token file {file}: {error}") from error


def read_text(file: Path, *, must_exist: bool) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        if not must_exist:
            return b""
        raise ConfigurationError(f"the configuration file {file} does not exist") from None
    except OSError as error:
        raise ConfigurationError(f"the configuration file {file} cannot be read: {error.strerror}") from error


def make_config(
    text: bytes, file: Path, environ: Mapping[str, str], *, home: Path, folder: Path, arguments: Mapping[str, object]
) -> Config:
    """As `load_config`, without reading anything. Relative paths count from `folder`, in the file from its own."""
    merger = _Merger(home)
    merger.defaults()
    given, warnings = _from_file(text, str(file))
    merger.layer(given, file.parent)
    merger.layer(_from_environment(environ), folder)
    merger.layer({key: _Given(value, "argument") for key, value in arguments.items() if value is not None}, folder)
    if merger.problems:
        raise ConfigurationError("; ".join(merger.problems), {"problems": merger.problems})
    merger.values["journal"] = merger.values.get("journal") or f"sqlite://{merger.values['state_dir'] / 'journal.db'}"
    return Config(**merger.values, sources=merger.sources, warnings=(*warnings, *_unknown_variables(environ)))


class _Given(Struct, frozen=True):
    value: object
    source: str


class _Setting(Struct, frozen=True):
    """`parse` takes what YAML or a variable holds and raises ValueError, in words for its author. `variables`: the
    first that is set counts. `place` makes the result absolute: `(value, home, folder)`."""

    parse: Callable[[object], Any]
    variables: tuple[str, ...]
    place: Callable[[str, Path, Path], Any] | None = None


class _Merger:
    """Values and their sources so far; a later layer overwrites."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.values: dict[str, Any] = {}
        self.sources: dict[str, str] = {}
        self.problems: list[str] = []

    def defaults(self) -> None:
        self.values["state_dir"] = self._home / _FOLDER
        self.sources.update(dict.fromkeys(SETTINGS, "default"))

    def layer(self, given: Mapping[str, _Given], folder: Path) -> None:
        for key, one in given.items():
            setting = SETTINGS[key]
            try:
                value = setting.parse(one.value)
                self.values[key] = setting.place(value, self._home, folder) if setting.place else value
            except ValueError as error:
                self.problems.append(f"{one.source}: {key}: {error}")
            self.sources[key] = one.source


# -- the file


def _from_file(text: bytes, name: str) -> tuple[dict[str, _Given], list[str]]:
    if not text.strip():
        return {}, []
    # Imported here because most people have no such file, and every start of `gz` comes by.
    from gleitzeit.spec.load import load_text
    from gleitzeit.spec.problems import problems_of, sentence

    try:
        document = load_text(text, name=name)
    except DocumentError as error:
        problems = [f"{name}{f':{one.line}' if one.line else ''}: {sentence(one)}" for one in problems_of(error)]
        raise ConfigurationError("; ".join(problems), {"problems": problems}) from error
    if document.value is None:
        return {}, []
    if not isinstance(document.value, dict):
        raise ConfigurationError(f"{name}: expected keys and values, such as `listen: 127.0.0.1:8765`")
    keys = [(key,) for key in document.value]
    lines = {path[-1]: place.key_line for path, place in document.places([*keys, _EARLIER_PARALLEL]).items() if path}
    return _known_keys(document.value, lambda key: f"{name}:{lines.get(key, 1)}")


def _known_keys(content: dict[str, Any], source: Callable[[str], str]) -> tuple[dict[str, _Given], list[str]]:
    given: dict[str, _Given] = {}
    warnings = []
    section, parallel = _EARLIER_PARALLEL
    if isinstance(content.get(section), dict) and parallel in content[section]:
        given["max_parallel"] = _Given(content[section][parallel], source(parallel))
        content = {key: value for key, value in content.items() if key != section or len(value) > 1}
    for key, value in content.items():
        name = key.replace("-", "_")
        if name == "providers" and isinstance(value, dict):
            warnings.append(
                f"{source(key)}: providers as a mapping is of an earlier version and not used: write a list"
            )
        elif name in SETTINGS and value is not None:
            given[name] = _Given(value, source(key))
        elif name in _EARLIER_SECTIONS:
            warnings.append(f"{source(key)}: {key} is of an earlier version and not used")
        elif name not in SETTINGS:
            warnings.append(f"{source(key)}: unknown key {key}{_suggested(name, SETTINGS)}")
    return given, warnings


# -- the environment


def _from_environment(environ: Mapping[str, str]) -> dict[str, _Given]:
    """A variable that is empty is not set."""
    given: dict[str, _Given] = {}
    for key, setting in SETTINGS.items():
        name = _first(environ, setting.variables)
        if name is not None:
            given[key] = _Given(environ[name], name)
    for key, earlier in _EARLIER_FORMS.items():
        if key not in given and (one := earlier(environ)) is not None:
            given[key] = one
    return given


def _first(environ: Mapping[str, str], names: Iterable[str]) -> str | None:
    return next((name for name in names if environ.get(name)), None)


def _earlier_journal(environ: Mapping[str, str]) -> _Given | None:
    """A kind and a path in two variables. `auto` was the default then, and is now."""
    kind = _first(environ, _EARLIER_BACKENDS)
    path = _first(environ, _EARLIER_PATHS)
    if kind is not None and environ[kind].lower() not in ("auto", "sqlite"):
        return _Given(environ[kind].lower(), kind)
    if path is not None:
        return _Given(f"sqlite://{environ[path]}", path)
    return None


def _earlier_coordinator(environ: Mapping[str, str]) -> _Given | None:
    return _host_and_port(environ, "GLEITZEIT_API_HOST", "GLEITZEIT_API_PORT", default_port="8765")


def _earlier_listen(environ: Mapping[str, str]) -> _Given | None:
    return _host_and_port(environ, "GLEITZEIT_HOST", "GLEITZEIT_PORT", default_port="8765")


def _host_and_port(environ: Mapping[str, str], host: str, port: str, *, default_port: str) -> _Given | None:
    names = [name for name in (host, port) if environ.get(name)]
    if not names:
        return None
    return _Given(f"{environ.get(host) or '127.0.0.1'}:{environ.get(port) or default_port}", " and ".join(names))


def _debug(environ: Mapping[str, str]) -> _Given | None:
    wanted = environ.get("GLEITZEIT_DEBUG", "").lower() in ("1", "true", "yes", "on")
    return _Given("debug", "GLEITZEIT_DEBUG") if wanted else None


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    ours = {name for setting in SETTINGS.values() for name in setting.variables} | _OTHER_VARIABLES
    warnings = []
    for name in sorted(environ):
        if not name.startswith("GLEITZEIT_") or name in ours:
            continue
        if _EARLIER_VARIABLES.match(name):
            warnings.append(f"{name} is of an earlier version and not used")
        else:
            warnings.append(f"unknown variable {name}{_suggested(name, ours, prefix='GLEITZEIT_')}")
    return warnings


def _suggested(word: str, known: Iterable[str], *, prefix: str = "") -> str:
    """What all words begin with, `prefix`, makes none of them alike."""
    import difflib  # only where something is wrong, as every start of `gz` comes by

    close = difflib.get_close_matches(word.removeprefix(prefix), [one.removeprefix(prefix) for one in known], 1)
    return f" (did you mean {prefix}{close[0]}?)" if close else ""


# -- values, from texts or from YAML


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"expected a text, not {_kind(value)}")
    return value.strip()


def _secret(value: object) -> str:
    text = _text(value)
    if not text.isprintable() or not text.isascii() or " " in text:
        raise ValueError("expected printable ASCII without spaces")
    return text


def _names(value: object) -> tuple[str, ...]:
    """`[echo, python]` or `echo,python`; each once, in order."""
    listed = value.split(",") if isinstance(value, str) else value
    if not isinstance(listed, list | tuple):
        raise ValueError(f"expected names, such as echo,python, not {_kind(value)}")
    names = tuple(dict.fromkeys(str(name).strip() for name in listed if str(name).strip()))
    for name in names:
        if re.fullmatch(r"[A-Za-z0-9_.-]+", name) is None:
            raise ValueError(f"{name[:40]!r} is not a name: expected letters, digits, _ . and -")
    return names


def _listen(value: object) -> str:
    host, _, port = _text(value).rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"expected HOST:PORT, such as 127.0.0.1:8765, not {str(value)[:60]!r}")
    return f"{host}:{port}"


def _socket_url(value: object) -> str:
    """Earlier versions spoke HTTP: the same place is meant."""
    text = _text(value)
    for earlier, now in (("http://", "ws://"), ("https://", "wss://")):
        text = now + text.removeprefix(earlier) if text.startswith(earlier) else text
    url = text if "://" in text else f"ws://{text}"
    if urlsplit(url).scheme not in ("ws", "wss") or not urlsplit(url).hostname:
        raise ValueError(f"expected ws://HOST:PORT or wss://HOST:PORT, not {text[:80]!r}")
    _ = urlsplit(url).port  # raises ValueError if there is one that is no port
    return url


def _nats_url(value: object) -> str:
    text = _text(value)
    url = text if "://" in text else f"nats://{text}"
    if urlsplit(url).scheme not in ("nats", "tls", "ws", "wss") or not urlsplit(url).hostname:
        raise ValueError("expected nats://HOST:PORT")
    return url


def _cluster(value: object) -> str:
    text = _text(value)
    if re.fullmatch(r"[A-Za-z0-9_-]+", text) is None:
        raise ValueError(f"expected letters, digits, - and _, not {text[:40]!r}")
    return text


def _one_of(known: tuple[str, ...]) -> Callable[[object], str]:
    def parse(value: object) -> str:
        text = _text(value).lower()
        if text not in known:
            raise ValueError(f"expected {', '.join(known)}, not {text[:40]!r}")
        return text

    return parse


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _WORDS:
        return _WORDS[value.strip().lower()]
    raise ValueError(f"expected true or false, not {str(value)[:40]!r}")


_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def _count(value: object) -> int:
    number = int(value) if isinstance(value, str) and value.strip().isdecimal() else value
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= MOST_PARALLEL:
        raise ValueError(f"expected a whole number from 1 to {MOST_PARALLEL}, not {str(value)[:40]!r}")
    return number


def _seconds(value: object) -> float:
    seconds = parse_duration(value)
    if not seconds:
        raise ValueError("expected more than 0 seconds; leave it out for no limit")
    return seconds


def _journal(value: object) -> str:
    """ "" for the default, which lies in the state folder."""
    text = _text(value)
    if text.split(":")[0] == "redis":
        raise ValueError("Redis as a journal comes in a later version: use sqlite or memory")
    return {"memory": "memory:", "sqlite": ""}.get(text, text)


def _kind(value: object) -> str:
    kinds = {str: "an empty one", bool: "true or false", int: "a number", float: "a number", list: "a list"}
    return kinds.get(type(value), "a mapping")


def _absolute(text: str, home: Path, folder: Path) -> Path:
    if text == "~" or text.startswith("~/"):
        return home / text[2:]
    return folder / text


def _absolute_journal(url: str, home: Path, folder: Path) -> str:
    scheme, found, path = url.partition("://")
    if found and scheme == "sqlite" and path:
        return f"sqlite://{_absolute(path, home, folder)}"
    if url and not found and not url.startswith("memory:"):
        return f"sqlite://{_absolute(url, home, folder)}"
    return url


SETTINGS: dict[str, _Setting] = {
    "state_dir": _Setting(_text, ("GLEITZEIT_STATE", "GLEITZEIT_STATE_DIR"), _absolute),
    "journal": _Setting(_journal, ("GLEITZEIT_JOURNAL",), _absolute_journal),
    "coordinator_url": _Setting(_socket_url, ("GLEITZEIT_COORDINATOR", "GLEITZEIT_URL", "GLEITZEIT_HUB_URL")),
    "token": _Setting(_secret, ("GLEITZEIT_AUTH_TOKEN", "GLEITZEIT_TOKEN", "GLEITZEIT_API_KEY")),
    "tls_ca": _Setting(_text, ("GLEITZEIT_TLS_CA",), _absolute),
    "listen": _Setting(_listen, ("GLEITZEIT_LISTEN",)),
    "token_file": _Setting(_text, ("GLEITZEIT_TOKEN_FILE",), _absolute),
    "tls_cert": _Setting(_text, ("GLEITZEIT_TLS_CERT",), _absolute),
    "tls_key": _Setting(_text, ("GLEITZEIT_TLS_KEY",), _absolute),
    "nats_url": _Setting(_nats_url, ("GLEITZEIT_NATS_URL", "NATS_URL")),
    "cluster": _Setting(_cluster, ("GLEITZEIT_CLUSTER",)),
    "providers": _Setting(_names, ("GLEITZEIT_PROVIDERS",)),
    "log_level": _Setting(_one_of(LEVELS), ("GLEITZEIT_LOG_LEVEL",)),
    "log_format": _Setting(_one_of(FORMATS), ("GLEITZEIT_LOG_FORMAT",)),
    "default_timeout_seconds": _Setting(_seconds, ("GLEITZEIT_DEFAULT_TIMEOUT", "GLEITZEIT_TASK_TIMEOUT")),
    "max_parallel": _Setting(
        _count, ("GLEITZEIT_MAX_PARALLEL", "GLEITZEIT_MAX_CONCURRENT_TASKS", "GLEITZEIT_MAX_PARALLEL_TASKS")
    ),
    "allow_shell": _Setting(_flag, ("GLEITZEIT_ALLOW_SHELL",)),
    "allow_env": _Setting(_names, ("GLEITZEIT_ALLOW_ENV",)),
}
"""In the order in which they are shown."""

_EARLIER_BACKENDS = ("GLEITZEIT_PERSISTENCE_BACKEND", "GLEITZEIT_PERSISTENCE_TYPE", "GLEITZEIT_BACKEND")
_EARLIER_PATHS = ("GLEITZEIT_SQLITE_PATH", "GLEITZEIT_SQL_DB_PATH")
_EARLIER_FORMS: dict[str, Callable[[Mapping[str, str]], _Given | None]] = {
    "journal": _earlier_journal,
    "coordinator_url": _earlier_coordinator,
    "listen": _earlier_listen,
    "log_level": _debug,
}
_OTHER_VARIABLES = frozenset(
    {
        *_EARLIER_BACKENDS,
        *_EARLIER_PATHS,
        *("GLEITZEIT_API_HOST", "GLEITZEIT_API_PORT", "GLEITZEIT_HOST", "GLEITZEIT_PORT", "GLEITZEIT_DEBUG"),
        # read where they are needed
        *("GLEITZEIT_CONFIG", "GLEITZEIT_READY_FD", "GLEITZEIT_PARENT_FD"),
        *("GLEITZEIT_GGUF", "GLEITZEIT_OLLAMA_URL", "GLEITZEIT_DEFAULT_MODEL", "GLEITZEIT_LLAMA_KEY"),
        *("GLEITZEIT_LLM_RPM", "GLEITZEIT_LLM_TPM", "GLEITZEIT_LLM_CAPACITY", "GLEITZEIT_LLM_IDLE_TIMEOUT"),
    }
)
_EARLIER_PARALLEL = ("execution", "max_concurrent_tasks")
_EARLIER_SECTIONS = frozenset(
    [
        *("persistence", "execution", "batch", "general", "ollama", "python", "mcp"),
        *("template", "api", "resources", "limits", "models", "profiles", "log_file"),
    ]
)
_EARLIER_VARIABLES = re.compile(
    "GLEITZEIT_(REDIS_|OLLAMA_|RETRY_|CONTINUE_ON_ERROR|PYTHON_SECURITY_MODE|API_AUTO_START|AUTH_MODE"
    "|MCP_SERVER_PATH|LOG_FILE)"
)

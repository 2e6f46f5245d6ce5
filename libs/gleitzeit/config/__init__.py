"""What a user has configured: defaults < ~/.gleitzeit/config.yaml < GLEITZEIT_* < arguments.

Each layer is checked as a whole, also where a later one wins, and all problems are reported at once. Spellings of
earlier versions are accepted; what nobody knows is a warning, with the word that was probably meant.
"""

import os
import pwd
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from gleitzeit.config import earlier, values
from gleitzeit.config.given import Given, Setting, first
from gleitzeit.config.values import FORMATS, LEVELS, LogFormat, absolute, absolute_journal, absolute_journals, secret
from gleitzeit.errors import ConfigurationError, DocumentError
from gleitzeit.spec.urls import shown

__all__ = [
    "FORMATS",
    "LEVELS",
    "SETTINGS",
    "Config",
    "default_folder",
    "home_folder",
    "load_config",
    "make_config",
    "read_token",
]

PROFILE = "GLEITZEIT_PROFILE"
_FOLDER = ".gleitzeit"  # in the home
SECRET = "GLEITZEIT_SECRET_"
"""And a name: the variable in which a provider finds `${secrets.NAME}`."""
_SECRETS = "GLEITZEIT_SECRETS"
_SECRET = frozenset({"token"})
_URLS = frozenset({"journal", "journal_fallback", "coordinator_url", "nats_url", "ollama_url"})
_BETWEEN_URLS = re.compile(r",\s*(?=\w+://)")


class Config(Struct, frozen=True, kw_only=True):
    """Paths are absolute. None: not configured.

    `sources` says for each field where its value is from, in words for people; `warnings` are sentences for them.
    """

    state_dir: Path
    journal: str
    """As `gleitzeit.journal.open_journal` takes it."""
    journal_fallback: tuple[str, ...] = ()
    """What is taken instead, in this order, if it cannot be reached when the coordinator starts."""
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
    log_format: LogFormat = "auto"
    log_file: Path | None = None
    """Where the services of `gz up` log; None: to stderr."""
    default_timeout_seconds: float | None = None
    """For one attempt of a task that says nothing itself; put into the document by who submits it."""
    max_parallel: int | None = None
    """Of a workflow that says nothing itself; as above."""
    retry_attempts: int | None = None
    """Of a task that says nothing itself; as above."""
    error_policy: str | None = None
    """Of a workflow that says nothing itself; as above."""
    auto_start: bool = True
    """Whether a command may start an embedded stack where none runs."""
    default_model: str | None = None
    """For the providers of llm/v1 of a stack that `gz` starts, as the next two."""
    ollama_url: str | None = None
    """Several with commas."""
    llm_idle_timeout_seconds: float | None = None
    allow_shell: bool = False
    """Whether documents may run commands on this machine, in a stack that `gz run` starts."""
    allow_root: tuple[Path, ...] = ()
    """The folders whose files documents may name, of a coordinator of ours."""
    retention_seconds: float | None = None
    """How long a coordinator of ours keeps workflows that have ended; None: for ever."""
    retention_count: int | None = None
    """How many of them, the newest; None: all."""
    allow_env: tuple[str, ...] = ()
    """The environment variables of a coordinator of ours that any document may read."""
    strategy: str | None = None
    """By which a coordinator of ours chooses the provider for a call; None: the least loaded."""
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
    if key in _URLS:
        listed = value if isinstance(value, tuple) else _BETWEEN_URLS.split(str(value))
        return ",".join(map(shown, listed))
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def load_config(environ: Mapping[str, str], home: Path, arguments: Mapping[str, object] | None = None) -> Config:
    """Read the file and put the layers together. An argument that is None was not given.

    Raises ConfigurationError that lists all problems, each with its source, line and key.
    """
    named = environ.get("GLEITZEIT_CONFIG")
    file = Path(absolute(named, home, Path.cwd())) if named else home / _FOLDER / "config.yaml"
    text = read_text(file, must_exist=bool(named))
    return make_config(text, file, environ, home=home, folder=Path.cwd(), arguments=arguments or {})


def default_folder(environ: Mapping[str, str]) -> Path:
    """The state folder of a service that nobody has told one, and that reads no configuration."""
    name = first(environ, SETTINGS["state_dir"].variables)
    home = home_folder()
    return home / _FOLDER if name is None else absolute(environ[name], home, Path.cwd())


def home_folder() -> Path:
    """Absolute. An empty HOME is none; who has none at all (a number without a name, in a container) has one that is
    not there."""
    try:
        return Path.home().absolute() if os.environ.get("HOME") else Path(pwd.getpwuid(os.getuid()).pw_dir)
    except (KeyError, RuntimeError):
        return Path("/nonexistent")


def secrets_folder(environ: Mapping[str, str], state: Path) -> Path:
    """Where providers find `${secrets.NAME}` as files, and `gz secret` keeps them."""
    return Path(environ[_SECRETS]) if environ.get(_SECRETS) else state / "secrets"


def read_token(file: Path) -> str:
    """The token that stands in a `token_file`. Raises ConfigurationError."""
    try:
        return secret(file.read_text(errors="replace").strip())
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
    given, warnings = _from_file(text, str(file), environ.get(PROFILE, ""))
    merger.layer(given, file.parent)
    merger.layer(_from_environment(environ), folder)
    merger.layer({key: Given(value, "argument") for key, value in arguments.items() if value is not None}, folder)
    if merger.problems:
        raise ConfigurationError("; ".join(merger.problems), {"problems": merger.problems})
    merger.values["journal"] = merger.values.get("journal") or f"sqlite://{merger.values['state_dir'] / 'journal.db'}"
    return Config(**merger.values, sources=merger.sources, warnings=(*warnings, *_unknown_variables(environ)))


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

    def layer(self, given: Mapping[str, Given], folder: Path) -> None:
        for key, one in given.items():
            setting = SETTINGS[key]
            try:
                value = setting.parse(one.value)
                self.values[key] = setting.place(value, self._home, folder) if setting.place else value
            except ValueError as error:
                self.problems.append(f"{one.source}: {key}: {error}")
            self.sources[key] = one.source


# -- the file


def _from_file(text: bytes, name: str, profile: str) -> tuple[dict[str, Given], list[str]]:
    if not text.strip():
        return {}, []
    # Imported here because most people have no such file, and every start of `gz` comes by.
    from gleitzeit.spec.loading.load import load_text
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
    content = {key: value for key, value in document.value.items() if key not in ("profile", "profiles")}
    below, further = _profile(document.value, profile, name)
    lines = {
        path: place.key_line
        for above, settings in (((), content), (below, further))
        for whole, place in document.places([(*above, *path) for path in _paths(settings)]).items()
        if (path := whole[len(above) :])
    }
    return _known_keys({**content, **further}, lambda path: f"{name}:{lines.get(path, 1)}")


def _profile(content: dict[str, Any], named: str, file: str) -> tuple[tuple[str, ...], dict[str, Any]]:
    """`profiles` has further settings under a name each; the one that `profile` or GLEITZEIT_PROFILE says goes over
    the others: its path, and its settings. Raises ConfigurationError."""
    profiles, named = content.get("profiles"), named or str(content.get("profile") or "")
    if not named:
        return (), {}
    if not isinstance(profiles, dict) or not isinstance(profiles.get(named), dict):
        there = ", ".join(profiles) if isinstance(profiles, dict) else "none"
        raise ConfigurationError(f"{file}: there is no profile {named!r} (there are: {there})")
    return ("profiles", named), profiles[named]


def _paths(content: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in content.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from _paths(value, (*above, key))


def _known_keys(
    content: dict[str, Any], source: Callable[[tuple[str, ...]], str]
) -> tuple[dict[str, Given], list[str]]:
    """What is of today goes before what an earlier version would have said."""
    sections = earlier.Sections(content, source)
    given, warnings = dict(sections.given), list(sections.warnings)
    for key, value in content.items():
        name = key.replace("-", "_")
        if earlier.Sections.knows(name, value):
            continue
        if name in SETTINGS and value is not None:
            given[name] = Given(value, source((key,)))
        elif name not in SETTINGS:
            warnings.append(f"{source((key,))}: unknown key {key}{_suggested(name, SETTINGS)}")
    return given, warnings


# -- the environment


def _from_environment(environ: Mapping[str, str]) -> dict[str, Given]:
    """A variable that is empty is not set."""
    given: dict[str, Given] = {}
    for key, setting in SETTINGS.items():
        name = first(environ, setting.variables)
        if name is not None:
            given[key] = Given(environ[name], name)
    for key, form in earlier.FORMS.items():
        if key not in given and (one := form(environ)) is not None:
            given[key] = one
    return given


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    ours = {name for setting in SETTINGS.values() for name in setting.variables} | earlier.VARIABLES | _OTHER_VARIABLES
    warnings = []
    for name in sorted(environ):
        if not name.startswith("GLEITZEIT_") or name in ours or name.startswith(SECRET):
            continue
        if name in earlier.WITHOUT_MEANING:
            warnings.append(f"{name} is of an earlier version and not used: {earlier.WITHOUT_MEANING[name]}")
        else:
            warnings.append(f"unknown variable {name}{_suggested(name, ours, prefix='GLEITZEIT_')}")
    return warnings


def _suggested(word: str, known: Iterable[str], *, prefix: str = "") -> str:
    """What all words begin with, `prefix`, makes none of them alike."""
    import difflib  # only where something is wrong, as every start of `gz` comes by

    close = difflib.get_close_matches(word.removeprefix(prefix), [one.removeprefix(prefix) for one in known], 1)
    return f" (did you mean {prefix}{close[0]}?)" if close else ""


SETTINGS: dict[str, Setting] = {
    "state_dir": Setting(values.text, ("GLEITZEIT_STATE", "GLEITZEIT_STATE_DIR"), absolute),
    "journal": Setting(values.journal, ("GLEITZEIT_JOURNAL",), absolute_journal),
    "journal_fallback": Setting(values.journals, ("GLEITZEIT_JOURNAL_FALLBACK",), absolute_journals),
    "coordinator_url": Setting(values.socket_url, ("GLEITZEIT_COORDINATOR", "GLEITZEIT_URL", "GLEITZEIT_HUB_URL")),
    "token": Setting(values.secret, ("GLEITZEIT_AUTH_TOKEN", "GLEITZEIT_TOKEN", "GLEITZEIT_API_KEY")),
    "tls_ca": Setting(values.text, ("GLEITZEIT_TLS_CA",), absolute),
    "listen": Setting(values.listen, ("GLEITZEIT_LISTEN",)),
    "token_file": Setting(values.text, ("GLEITZEIT_TOKEN_FILE",), absolute),
    "tls_cert": Setting(values.text, ("GLEITZEIT_TLS_CERT",), absolute),
    "tls_key": Setting(values.text, ("GLEITZEIT_TLS_KEY",), absolute),
    "nats_url": Setting(values.nats_url, ("GLEITZEIT_NATS_URL", "NATS_URL")),
    "cluster": Setting(values.cluster, ("GLEITZEIT_CLUSTER",)),
    "providers": Setting(values.names, ("GLEITZEIT_PROVIDERS",)),
    "log_level": Setting(values.one_of(LEVELS), ("GLEITZEIT_LOG_LEVEL",)),
    "log_format": Setting(values.one_of(FORMATS), ("GLEITZEIT_LOG_FORMAT",)),
    "log_file": Setting(values.text, ("GLEITZEIT_LOG_FILE",), absolute),
    "default_timeout_seconds": Setting(values.seconds, ("GLEITZEIT_DEFAULT_TIMEOUT", "GLEITZEIT_TASK_TIMEOUT")),
    "max_parallel": Setting(
        values.count, ("GLEITZEIT_MAX_PARALLEL", "GLEITZEIT_MAX_CONCURRENT_TASKS", "GLEITZEIT_MAX_PARALLEL_TASKS")
    ),
    "retry_attempts": Setting(values.attempts, ("GLEITZEIT_RETRY_ATTEMPTS",)),
    "error_policy": Setting(values.one_of(values.POLICIES), ("GLEITZEIT_ERROR_POLICY",)),
    "auto_start": Setting(values.flag, ("GLEITZEIT_AUTO_START", "GLEITZEIT_API_AUTO_START")),
    "default_model": Setting(values.text, ("GLEITZEIT_DEFAULT_MODEL",)),
    "ollama_url": Setting(values.urls, ("GLEITZEIT_OLLAMA_URL",)),
    "llm_idle_timeout_seconds": Setting(values.seconds, ("GLEITZEIT_LLM_IDLE_TIMEOUT", "GLEITZEIT_OLLAMA_TIMEOUT")),
    "allow_shell": Setting(values.flag, ("GLEITZEIT_ALLOW_SHELL",)),
    "allow_root": Setting(values.folders, ("GLEITZEIT_ALLOW_ROOT",), values.absolute_folders),
    "retention_seconds": Setting(values.seconds, ("GLEITZEIT_RETENTION",)),
    "retention_count": Setting(values.number, ("GLEITZEIT_RETENTION_COUNT",)),
    "allow_env": Setting(values.names, ("GLEITZEIT_ALLOW_ENV",)),
    "strategy": Setting(values.strategies, ("GLEITZEIT_STRATEGY",)),
}
"""In the order in which they are shown."""

_OTHER_VARIABLES = frozenset(
    {
        # read where they are needed
        *("GLEITZEIT_CONFIG", PROFILE, "GLEITZEIT_READY_FD", "GLEITZEIT_PARENT_FD", "GLEITZEIT_SHELL_COMMANDS"),
        *("GLEITZEIT_MCP_CONFIG", _SECRETS, "GLEITZEIT_RESTART_MAX_SECONDS", "GLEITZEIT_LEASE_SECONDS"),
        "GLEITZEIT_OLLAMA_DISCOVER",
        *("GLEITZEIT_GGUF", "GLEITZEIT_LLAMA_KEY", "GLEITZEIT_LLM_RPM", "GLEITZEIT_LLM_TPM", "GLEITZEIT_LLM_CAPACITY"),
    }
)

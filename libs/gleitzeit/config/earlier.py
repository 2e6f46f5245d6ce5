"""What earlier versions called it, and where they put it: variables in several pieces, and sections of the file.

Each becomes one of today's settings. What has no meaning any more is told with the reason.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from gleitzeit.config.given import Given, first
from gleitzeit.config.values import WORDS

# -- variables

_BACKENDS = ("GLEITZEIT_PERSISTENCE_BACKEND", "GLEITZEIT_PERSISTENCE_TYPE", "GLEITZEIT_BACKEND")
_PATHS = ("GLEITZEIT_SQLITE_PATH", "GLEITZEIT_SQL_DB_PATH")
_REDIS = ("GLEITZEIT_REDIS_URL", "REDIS_URL")
_OLLAMA = ("GLEITZEIT_OLLAMA_HOST", "GLEITZEIT_OLLAMA_PORT")
_ATTEMPTS = "GLEITZEIT_RETRY_MAX_ATTEMPTS"
_PORT = "8765"


def _journal(environ: Mapping[str, str]) -> Given | None:
    """A kind and a path in two variables. `auto` was the default then, and is now."""
    kind, path = first(environ, _BACKENDS), first(environ, _PATHS)
    word = environ[kind].lower() if kind is not None else ""
    if word == "redis":
        return Given(_redis_url(environ), kind or "")
    if word not in ("", "auto", "sqlite"):
        return Given(word, kind or "")
    return None if path is None else Given(f"sqlite://{environ[path]}", path)


def _redis_url(environ: Mapping[str, str]) -> str:
    url = next((environ[name] for name in _REDIS if environ.get(name)), "redis://127.0.0.1:6379/0")
    password, prefix = environ.get("GLEITZEIT_REDIS_PASSWORD"), environ.get("GLEITZEIT_REDIS_KEY_PREFIX")
    if password and "@" not in url:
        scheme, _, rest = url.partition("://")
        url = f"{scheme}://:{quote(password, safe='')}@{rest}"
    if prefix:
        url += ("&" if urlsplit(url).query else "?") + f"prefix={quote(prefix, safe='')}"
    return url


def _coordinator(environ: Mapping[str, str]) -> Given | None:
    return _host_and_port(environ, "GLEITZEIT_API_HOST", "GLEITZEIT_API_PORT", _PORT)


def _listen(environ: Mapping[str, str]) -> Given | None:
    return _host_and_port(environ, "GLEITZEIT_HOST", "GLEITZEIT_PORT", _PORT)


def _ollama(environ: Mapping[str, str]) -> Given | None:
    if environ.get("GLEITZEIT_OLLAMA_INSTANCES"):
        return Given(environ["GLEITZEIT_OLLAMA_INSTANCES"], "GLEITZEIT_OLLAMA_INSTANCES")
    return _host_and_port(environ, *_OLLAMA, "11434")


def _host_and_port(environ: Mapping[str, str], host: str, port: str, default_port: str) -> Given | None:
    names = [name for name in (host, port) if environ.get(name)]
    if not names:
        return None
    place = environ.get(host) or "127.0.0.1"
    if not environ.get(port) and re.search(r":\d+$", place):
        return Given(place, names[0])
    return Given(f"{place}:{environ.get(port) or default_port}", " and ".join(names))


def _log_level(environ: Mapping[str, str]) -> Given | None:
    return Given("debug", "GLEITZEIT_DEBUG") if _is_on(environ, "GLEITZEIT_DEBUG") else None


def _policy(environ: Mapping[str, str]) -> Given | None:
    name = "GLEITZEIT_CONTINUE_ON_ERROR"
    return Given("continue", name) if _is_on(environ, name) else None


def _attempts(environ: Mapping[str, str]) -> Given | None:
    name = "GLEITZEIT_RETRY_ENABLED"
    if environ.get(name) and not _is_on(environ, name):
        return Given(1, name)
    if environ.get(_ATTEMPTS):
        return Given(environ[_ATTEMPTS], _ATTEMPTS)
    return Given(3, name) if _is_on(environ, name) else None


def _is_on(environ: Mapping[str, str], name: str) -> bool:
    return WORDS.get(environ.get(name, "").strip().lower(), False)


FORMS: dict[str, Callable[[Mapping[str, str]], Given | None]] = {
    "journal": _journal,
    "coordinator_url": _coordinator,
    "listen": _listen,
    "log_level": _log_level,
    "error_policy": _policy,
    "retry_attempts": _attempts,
    "ollama_url": _ollama,
}
"""Setting -> what several earlier variables say together."""

VARIABLES = frozenset(
    {
        *_BACKENDS,
        *_PATHS,
        *_REDIS,
        *_OLLAMA,
        *("GLEITZEIT_REDIS_PASSWORD", "GLEITZEIT_REDIS_KEY_PREFIX", "GLEITZEIT_OLLAMA_INSTANCES"),
        *("GLEITZEIT_API_HOST", "GLEITZEIT_API_PORT", "GLEITZEIT_HOST", "GLEITZEIT_PORT", "GLEITZEIT_DEBUG"),
        *("GLEITZEIT_CONTINUE_ON_ERROR", "GLEITZEIT_RETRY_ENABLED", _ATTEMPTS),
    }
)
"""Those that FORMS read."""

WITHOUT_MEANING = {
    "GLEITZEIT_REDIS_TTL": "a journal forgets nothing by itself",
    "GLEITZEIT_OLLAMA_MAX_RETRIES": "the `retry` of a task decides",
    "GLEITZEIT_OLLAMA_HEALTH_CHECK_INTERVAL": "servers are looked at as they are used",
    "GLEITZEIT_OLLAMA_FAILOVER": "a server that does not answer is passed over by itself",
    "GLEITZEIT_OLLAMA_STRATEGY": "`load_balancing_strategy` of a task decides",
    "GLEITZEIT_PYTHON_SECURITY_MODE": "every script runs in a process of its own, with limits",
    "GLEITZEIT_MCP_SERVER_PATH": "`gz mcp add NAME -- COMMAND` adds a server; those of earlier versions are built in",
    "GLEITZEIT_AUTH_MODE": "there is one mode: a token, or none on this machine",
}

# -- sections of the file

Path = tuple[str, ...]

_SECTIONS: dict[Path, str] = {
    ("execution", "max_concurrent_tasks"): "max_parallel",
    ("execution", "max_parallel_tasks"): "max_parallel",
    ("execution", "max_parallel"): "max_parallel",
    ("execution", "default_timeout"): "default_timeout_seconds",
    ("execution", "task_timeout"): "default_timeout_seconds",
    ("execution", "retry_attempts"): "retry_attempts",
    ("execution", "continue_on_error"): "error_policy",
    ("execution", "error_policy"): "error_policy",
    ("general", "log_level"): "log_level",
    ("general", "log_file"): "log_file",
    ("general", "log_format"): "log_format",
    ("general", "debug"): "log_level",
    ("general", "default_model"): "default_model",
    ("general", "default_timeout"): "default_timeout_seconds",
    ("persistence", "type"): "journal",
    ("persistence", "backend"): "journal",
    ("persistence", "path"): "journal",
    ("persistence", "db_path"): "journal",
    ("persistence", "sqlite_path"): "journal",
    ("persistence", "redis_url"): "journal",
    ("persistence", "url"): "journal",
    ("persistence", "sqlite", "path"): "journal",
    ("persistence", "sqlite", "db_path"): "journal",
    ("persistence", "redis", "url"): "journal",
    ("api", "host"): "coordinator_url",
    ("api", "port"): "coordinator_url",
    ("api", "url"): "coordinator_url",
    ("api", "key"): "token",
    ("api", "api_key"): "token",
    ("api", "token"): "token",
    ("api", "auto_start"): "auto_start",
    **{
        (*section, name): setting
        for section in (("ollama",), ("providers", "ollama"))
        for name, setting in (
            *((name, "ollama_url") for name in ("endpoint", "url", "base_url", "host")),
            *((name, "default_model") for name in ("default_model", "model")),
        )
    },
    ("providers", "ollama", "default_models", "chat"): "default_model",
    ("ollama", "default_models", "chat"): "default_model",
    ("models", "default"): "default_model",
    ("models", "chat"): "default_model",
}

_SECTION_NAMES = frozenset(
    [
        *("persistence", "execution", "batch", "general", "ollama", "python", "mcp"),
        *("template", "api", "resources", "limits", "models"),
    ]
)


class Sections:
    """Sections of an earlier version's file as settings: `given`, and a sentence for each thing without a meaning."""

    def __init__(self, content: Mapping[str, Any], source: Callable[[Path], str]) -> None:
        self.given: dict[str, Given] = {}
        self.warnings: list[str] = []
        self._source = source
        for name, value in content.items():
            if name == "providers" and isinstance(value, dict):
                self._providers(value)
            if self.knows(name, value):
                self._take((name,), value)
        self._put_together(content)

    @staticmethod
    def knows(name: str, value: object) -> bool:
        return (name == "providers" and isinstance(value, dict)) or name in _SECTION_NAMES

    def _take(self, path: Path, value: object) -> None:
        setting = _SECTIONS.get(path)
        if setting is not None and value is not None:
            if (meant := _meant(path, value)) is not None:
                self.given.setdefault(setting, Given(meant, self._source(path)))
        elif isinstance(value, dict) and value:
            for name, inner in value.items():
                self._take((*path, str(name)), inner)
        elif value is not None and path[0] not in ("providers", "mcp"):  # of the latter its provider reads the servers
            self.warnings.append(f"{self._source(path)}: {'.'.join(path)} is of an earlier version and not used")

    def _providers(self, value: Mapping[str, Any]) -> None:
        """A map of them names those that are wanted."""
        names = [
            "echo",
            "python",
            *(name for name in value if name not in ("echo", "python") and _is_wanted(value[name])),
        ]
        self.given["providers"] = Given(names, self._source(("providers",)))

    def _put_together(self, content: Mapping[str, Any]) -> None:
        """What two keys say together."""
        api = content.get("api")
        if isinstance(api, dict) and "coordinator_url" in self.given and not api.get("url"):
            place = f"{api.get('host') or '127.0.0.1'}:{api.get('port') or _PORT}"
            self.given["coordinator_url"] = Given(place, self.given["coordinator_url"].source)
        persistence = content.get("persistence")
        if isinstance(persistence, dict) and "journal" in self.given:
            said = dict(_leaves(persistence))
            kind = str(said.get("type") or said.get("backend") or "sqlite").lower()
            names = ("redis_url", "url") if kind == "redis" else ("path", "db_path", "sqlite_path")
            if kind in ("sqlite", "auto", "redis") and (path := next((said[n] for n in names if said.get(n)), None)):
                url = str(path) if kind == "redis" else f"sqlite://{path}"
                self.given["journal"] = Given(url, self.given["journal"].source)


def _meant(path: Path, value: object) -> object:
    """None where it says nothing."""
    if path[-1] == "continue_on_error":
        return "continue" if value is True else None
    if path[-1] == "debug":
        return "debug" if value is True else None
    return value


def _is_wanted(value: object) -> bool:
    return not (isinstance(value, dict) and value.get("enabled") is False)


def _leaves(section: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in section.items():
        if isinstance(value, dict):
            yield from _leaves(value)
        else:
            yield name, value

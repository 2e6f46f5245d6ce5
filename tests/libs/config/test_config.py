"""Nothing is read from this machine: environment, home and the file's text are arguments."""

import contextlib
import os
import pwd
import re
from pathlib import Path

import pytest

from gleitzeit.config import SETTINGS, Config, default_folder, load_config, make_config, read_token
from gleitzeit.errors import ConfigurationError

HOME = Path("/home/ada")
FILE = HOME / ".gleitzeit" / "config.yaml"
WORK = Path("/srv/here")


def make(text: str = "", environ: dict[str, str] | None = None, **arguments: object) -> Config:
    return make_config(text.encode(), FILE, environ or {}, home=HOME, folder=WORK, arguments=arguments)


def refused(text: str = "", environ: dict[str, str] | None = None, **arguments: object) -> list[str]:
    with pytest.raises(ConfigurationError) as refusal:
        make(text, environ, **arguments)
    problems = (refusal.value.data or {})["problems"]
    assert all(problem in str(refusal.value) for problem in problems)
    return list(problems)


def test_defaults() -> None:
    config = make()
    assert config.state_dir == HOME / ".gleitzeit"
    assert config.journal == "sqlite:///home/ada/.gleitzeit/journal.db"
    assert config.listen == "127.0.0.1:8765"
    assert config.providers == ("echo", "python")
    assert (config.coordinator_url, config.token, config.nats_url, config.cluster) == (None, None, None, None)
    assert config.warnings == ()
    assert set(config.sources.values()) == {"default"}
    assert list(config.sources) == list(SETTINGS)


def test_each_layer_covers_those_before_and_is_named() -> None:
    text = "log_level: debug\nlisten: 127.0.0.1:1\n# a comment\ncluster: file\nmax-parallel: 3\n"
    environ = {"GLEITZEIT_LISTEN": "127.0.0.1:2", "GLEITZEIT_CLUSTER": "env"}
    config = make(text, environ, cluster="argument", log_format=None)
    assert (config.log_level, config.sources["log_level"]) == ("debug", f"{FILE}:1")
    assert (config.listen, config.sources["listen"]) == ("127.0.0.1:2", "GLEITZEIT_LISTEN")
    assert (config.cluster, config.sources["cluster"]) == ("argument", "argument")
    assert (config.max_parallel, config.sources["max_parallel"]) == (3, f"{FILE}:5")
    assert (config.log_format, config.sources["log_format"]) == ("auto", "default")
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("environ", "key", "value"),
    [
        ({"GLEITZEIT_STATE": "~/state"}, "state_dir", HOME / "state"),
        ({"GLEITZEIT_STATE": "state"}, "state_dir", WORK / "state"),
        ({"GLEITZEIT_COORDINATOR": "ws://a:1/"}, "coordinator_url", "ws://a:1/"),
        ({"GLEITZEIT_URL": "wss://a"}, "coordinator_url", "wss://a"),
        ({"GLEITZEIT_HUB_URL": "http://a:8001"}, "coordinator_url", "ws://a:8001"),
        ({"GLEITZEIT_HUB_URL": "https://a"}, "coordinator_url", "wss://a"),
        ({"GLEITZEIT_COORDINATOR": "a:1"}, "coordinator_url", "ws://a:1"),
        ({"GLEITZEIT_COORDINATOR": "ws://a", "GLEITZEIT_HUB_URL": "ws://b"}, "coordinator_url", "ws://a"),
        ({"GLEITZEIT_API_HOST": "a"}, "coordinator_url", "ws://a:8765"),
        ({"GLEITZEIT_API_PORT": "8000"}, "coordinator_url", "ws://127.0.0.1:8000"),
        ({"GLEITZEIT_API_HOST": "a", "GLEITZEIT_API_PORT": "8000"}, "coordinator_url", "ws://a:8000"),
        ({"GLEITZEIT_API_HOST": "a", "GLEITZEIT_HUB_URL": "ws://b"}, "coordinator_url", "ws://b"),
        ({"GLEITZEIT_AUTH_TOKEN": "s"}, "token", "s"),
        ({"GLEITZEIT_API_KEY": "s"}, "token", "s"),
        ({"GLEITZEIT_HOST": "::1", "GLEITZEIT_PORT": "1"}, "listen", "::1:1"),
        ({"GLEITZEIT_JOURNAL": "memory:"}, "journal", "memory:"),
        ({"GLEITZEIT_JOURNAL": "memory"}, "journal", "memory:"),
        ({"GLEITZEIT_JOURNAL": "sqlite", "GLEITZEIT_STATE": "/s"}, "journal", "sqlite:///s/journal.db"),
        ({"GLEITZEIT_JOURNAL": "sqlite://x.sqlite"}, "journal", "sqlite:///srv/here/x.sqlite"),
        ({"GLEITZEIT_JOURNAL": "sqlite:///x"}, "journal", "sqlite:///x"),
        ({"GLEITZEIT_JOURNAL": "~/x.db"}, "journal", "sqlite:///home/ada/x.db"),
        ({"GLEITZEIT_JOURNAL": "other://x"}, "journal", "other://x"),
        ({"GLEITZEIT_STATE": "/s"}, "journal", "sqlite:///s/journal.db"),
        ({"GLEITZEIT_PERSISTENCE_BACKEND": "memory"}, "journal", "memory:"),
        ({"GLEITZEIT_PERSISTENCE_TYPE": "SQLite"}, "journal", "sqlite:///home/ada/.gleitzeit/journal.db"),
        ({"GLEITZEIT_BACKEND": "sqlite", "GLEITZEIT_SQLITE_PATH": "/a"}, "journal", "sqlite:///a"),
        ({"GLEITZEIT_SQL_DB_PATH": "a.db"}, "journal", "sqlite:///srv/here/a.db"),
        ({"GLEITZEIT_BACKEND": "memory", "GLEITZEIT_JOURNAL": "/a.db"}, "journal", "sqlite:///a.db"),
        ({"GLEITZEIT_NATS_URL": "nats://a:1", "NATS_URL": "nats://b"}, "nats_url", "nats://a:1"),
        ({"NATS_URL": "b:4222"}, "nats_url", "nats://b:4222"),
        ({"GLEITZEIT_PROVIDERS": " echo, python ,,echo,"}, "providers", ("echo", "python")),
        ({"GLEITZEIT_LOG_LEVEL": "WARNING"}, "log_level", "warning"),
        ({"GLEITZEIT_DEBUG": "true"}, "log_level", "debug"),
        ({"GLEITZEIT_DEBUG": "0"}, "log_level", "info"),
        ({"GLEITZEIT_DEBUG": "1", "GLEITZEIT_LOG_LEVEL": "error"}, "log_level", "error"),
        ({"GLEITZEIT_LOG_FORMAT": "json"}, "log_format", "json"),
        ({"GLEITZEIT_TOKEN_FILE": "token"}, "token_file", WORK / "token"),
        ({"GLEITZEIT_TLS_CERT": "/c.pem"}, "tls_cert", Path("/c.pem")),
        ({"GLEITZEIT_TLS_KEY": "~/k.pem"}, "tls_key", HOME / "k.pem"),
        ({"GLEITZEIT_TLS_CA": "ca.pem"}, "tls_ca", WORK / "ca.pem"),
        ({"GLEITZEIT_DEFAULT_TIMEOUT": "90"}, "default_timeout_seconds", 90.0),
        ({"GLEITZEIT_TASK_TIMEOUT": "5m"}, "default_timeout_seconds", 300.0),
        ({"GLEITZEIT_MAX_CONCURRENT_TASKS": "7"}, "max_parallel", 7),
        ({"GLEITZEIT_MAX_PARALLEL_TASKS": "8"}, "max_parallel", 8),
        ({"GLEITZEIT_ALLOW_ENV": "HOME,LANG"}, "allow_env", ("HOME", "LANG")),
        ({"GLEITZEIT_LISTEN": ""}, "listen", "127.0.0.1:8765"),
        ({"GLEITZEIT_BACKEND": "redis"}, "journal", "redis://127.0.0.1:6379/0"),
        ({"GLEITZEIT_BACKEND": "redis", "REDIS_URL": "redis://r:1/2"}, "journal", "redis://r:1/2"),
        (
            {
                "GLEITZEIT_PERSISTENCE_TYPE": "redis",
                "GLEITZEIT_REDIS_URL": "redis://r",
                "GLEITZEIT_REDIS_PASSWORD": "p:w",
                "GLEITZEIT_REDIS_KEY_PREFIX": "gz:",
            },
            "journal",
            "redis://:p%3Aw@r?prefix=gz%3A",
        ),
        ({"REDIS_URL": "redis://r"}, "journal", "sqlite:///home/ada/.gleitzeit/journal.db"),
        ({"GLEITZEIT_LOG_FILE": "x.log"}, "log_file", WORK / "x.log"),
        ({"GLEITZEIT_CONTINUE_ON_ERROR": "true"}, "error_policy", "continue"),
        ({"GLEITZEIT_CONTINUE_ON_ERROR": "false"}, "error_policy", None),
        ({"GLEITZEIT_RETRY_MAX_ATTEMPTS": "5"}, "retry_attempts", 5),
        ({"GLEITZEIT_RETRY_ENABLED": "false", "GLEITZEIT_RETRY_MAX_ATTEMPTS": "5"}, "retry_attempts", 1),
        ({"GLEITZEIT_RETRY_ENABLED": "true"}, "retry_attempts", 3),
        ({"GLEITZEIT_API_AUTO_START": "false"}, "auto_start", False),
        ({"GLEITZEIT_DEFAULT_MODEL": "m"}, "default_model", "m"),
        ({"GLEITZEIT_OLLAMA_URL": "http://a:1"}, "ollama_url", "http://a:1"),
        ({"GLEITZEIT_OLLAMA_HOST": "a"}, "ollama_url", "a:11434"),
        ({"GLEITZEIT_OLLAMA_PORT": "9"}, "ollama_url", "127.0.0.1:9"),
        ({"GLEITZEIT_OLLAMA_INSTANCES": '["http://a", "b:1"]'}, "ollama_url", "http://a,b:1"),
        ({"GLEITZEIT_OLLAMA_TIMEOUT": "60"}, "llm_idle_timeout_seconds", 60.0),
    ],
)
def test_variables_of_now_and_before(environ: dict[str, str], key: str, value: object) -> None:
    config = make("", environ)
    assert getattr(config, key) == value
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("providers: [echo]", "providers", ("echo",)),
        ("providers: echo,python", "providers", ("echo", "python")),
        ("default_timeout_seconds: 1.5", "default_timeout_seconds", 1.5),
        ("default_timeout_seconds: 2h", "default_timeout_seconds", 7200.0),
        ("journal: data/x.db", "journal", "sqlite:///home/ada/.gleitzeit/data/x.db"),
        ("tls_ca: ca.pem", "tls_ca", HOME / ".gleitzeit/ca.pem"),
        ("allow_env: [HOME, LANG]", "allow_env", ("HOME", "LANG")),
        ("listen:", "listen", "127.0.0.1:8765"),
        ("# nothing", "listen", "127.0.0.1:8765"),
        ('{"listen": "127.0.0.1:1"}', "listen", "127.0.0.1:1"),
        ("execution:\n  max_concurrent_tasks: 5", "max_parallel", 5),
        ("max_parallel: 2\nexecution:\n  max_concurrent_tasks: 5", "max_parallel", 2),
        ("execution: {continue_on_error: true}", "error_policy", "continue"),
        ("execution: {task_timeout: 1m}", "default_timeout_seconds", 60.0),
        ("persistence: {type: memory}", "journal", "memory:"),
        ("persistence: {backend: sqlite, path: x.db}", "journal", "sqlite:///home/ada/.gleitzeit/x.db"),
        ("persistence: {sqlite: {db_path: /x.db}}", "journal", "sqlite:///x.db"),
        ("persistence: {type: redis, redis: {url: 'redis://r:1'}}", "journal", "redis://r:1"),
        ("api: {host: a, port: 8000}", "coordinator_url", "ws://a:8000"),
        ("api: {key: s}", "token", "s"),
        ("general: {debug: true}", "log_level", "debug"),
        ("general: {log_level: WARNING, debug: false}", "log_level", "warning"),
        ("ollama: {endpoint: 'http://a:1'}", "ollama_url", "http://a:1"),
        ("models: {default: m}", "default_model", "m"),
        (
            "providers: {python: {}, ollama: {endpoint: 'http://a', default_models: {chat: m, vision: v}}}",
            "default_model",
            "m",
        ),
        ("providers: {ollama: {}, mcp: {enabled: false, servers: []}}", "providers", ("echo", "python", "ollama")),
    ],
)
def test_the_file(text: str, key: str, value: object) -> None:
    config = make(text)
    assert getattr(config, key) == value
    assert config.warnings == ()


def test_problems_are_listed_all_at_once_with_source_line_and_key() -> None:
    text = "# mine\nmax_parallel: many\nlog_level: loud\nproviders: 5\n"
    problems = refused(text, {"GLEITZEIT_LISTEN": "8765", "GLEITZEIT_MAX_PARALLEL": "4"}, cluster="a b")
    assert problems == [
        f"{FILE}:2: max_parallel: expected a whole number from 1 to 100000, not 'many'",
        f"{FILE}:3: log_level: expected debug, info, warning, error, not 'loud'",
        f"{FILE}:4: providers: expected names, such as echo,python, not a number",
        "GLEITZEIT_LISTEN: listen: expected HOST:PORT, such as 127.0.0.1:8765, not '8765'",
        "argument: cluster: expected letters, digits, - and _, not 'a b'",
    ]


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("listen", ["", ":1", "a:", "a:b", "a:65536", 8765, "a:-1"]),
        ("coordinator_url", ["ftp://a", "ws://", "ws://a:x", "ws://a:99999", ["ws://a"]]),
        ("nats_url", ["http://a", "nats://", 4222]),
        ("token", ["a b", "ä", "a\nb", 5]),
        ("max_parallel", ["0", 0, -1, 1.5, True, "1e3", 10**9, [1]]),
        ("default_timeout_seconds", [0, -1, "soon", True, "inf", float("nan"), {}]),
        ("providers", ["a/b", ["a b"], {"a": 1}, True]),
        ("log_format", ["xml", 1]),
        ("state_dir", [5, " "]),
        ("journal", [5, ["x"], ""]),
    ],
)
def test_wrong_values(key: str, values: list[object]) -> None:
    for value in values:
        [problem] = refused("", {}, **{key: value})
        assert problem.startswith(f"argument: {key}: ")


@pytest.mark.parametrize("text", ["a: [", "listen: a:1\nlisten: b:1\n", "- a", "5", "\x00", "a: &x [*x]"])
def test_a_file_that_is_no_mapping(text: str) -> None:
    with pytest.raises(ConfigurationError, match=str(FILE)):
        make(text)


def test_a_key_that_is_there_twice_is_found_with_its_line() -> None:
    [problem] = refused("listen: a:1\ncluster: x\nlisten: b:1\n")
    assert problem.startswith(f"{FILE}:3: ")


def test_what_nobody_knows_is_a_warning_with_a_suggestion() -> None:
    config = make(
        "lisen: x\nexecution: {max_concurrent_tasks: 5, other: 1}\nwhatever: 1\nlimits:\n  max_workflow_size: 10MB\n",
        {"GLEITZEIT_LOGLEVEL": "x", "GLEITZEIT_REDIS_TTL": "x", "GLEITZEIT_XYZZY": "1", "GLEITZEIT_READY_FD": "3"},
    )
    assert config.warnings == (
        f"{FILE}:2: execution.other is of an earlier version and not used",
        f"{FILE}:5: limits.max_workflow_size is of an earlier version and not used",
        f"{FILE}:1: unknown key lisen (did you mean listen?)",
        f"{FILE}:3: unknown key whatever",
        "unknown variable GLEITZEIT_LOGLEVEL (did you mean GLEITZEIT_LOG_LEVEL?)",
        "GLEITZEIT_REDIS_TTL is of an earlier version and not used: a journal forgets nothing by itself",
        "unknown variable GLEITZEIT_XYZZY",
    )
    assert config.max_parallel == 5


def variables() -> set[str]:
    """What README names, and what services read that it does not name."""
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"GLEITZEIT_[A-Z_]*[A-Z]", readme))
    return named | {"GLEITZEIT_LEASE_SECONDS", "GLEITZEIT_RESTART_MAX_SECONDS"}


@pytest.mark.parametrize("name", sorted(variables()))
def test_no_variable_that_is_read_is_unknown(name: str) -> None:
    with contextlib.suppress(ConfigurationError):  # of one that is known, and cannot have this value
        assert not any(text.startswith("unknown variable") for text in make("", {name: "1"}).warnings)


def test_what_a_profile_says_has_its_line_there() -> None:
    text = "log_level: error\ncluster: mine\nprofiles:\n  dev:\n    log_level: debug\n    whatever: 1\nprofile: dev\n"
    config = make(text)
    assert (config.sources["log_level"], config.sources["cluster"]) == (f"{FILE}:5", f"{FILE}:2")
    assert config.warnings == (f"{FILE}:6: unknown key whatever",)


def test_a_profile_goes_over_the_rest() -> None:
    text = "cluster: mine\nlog_level: error\nprofiles:\n  dev: {log_level: debug}\n  prod: {log_level: warning}\n"
    assert make(text).log_level == "error"
    config = make(text, {"GLEITZEIT_PROFILE": "dev"})
    assert (config.log_level, config.cluster, config.warnings) == ("debug", "mine", ())
    assert make(f"{text}profile: prod\n").log_level == "warning"
    with pytest.raises(ConfigurationError, match=r"no profile 'x' \(there are: dev, prod\)"):
        make(text, {"GLEITZEIT_PROFILE": "x"})


def test_secrets_are_never_shown() -> None:
    config = make("token: geheim", {"NATS_URL": "nats://me:geheim@host"})
    assert config.token == "geheim"
    assert "geheim" not in repr(config)
    shown = {key: (value, source) for key, value, source in config.shown()}
    assert list(shown) == list(SETTINGS)
    assert shown["token"] == ("***", f"{FILE}:1")
    assert shown["nats_url"] == ("nats://***@host", "NATS_URL")
    assert shown["cluster"] == ("", "default")
    assert shown["providers"] == ("echo,python", "default")
    assert "geheim" not in str(refused("token: geheim und mehr"))


def test_load_reads_the_file_of_the_home_or_the_one_that_is_named(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert load_config({}, home).cluster is None
    (home / ".gleitzeit").mkdir(parents=True)
    (home / ".gleitzeit" / "config.yaml").write_text("cluster: mine\n")
    (home / "other.yaml").write_text("cluster: other\n")
    assert load_config({}, home).cluster == "mine"
    assert load_config({"GLEITZEIT_CONFIG": "~/other.yaml"}, home).cluster == "other"
    assert load_config({}, home, {"cluster": "argument"}).cluster == "argument"
    with pytest.raises(ConfigurationError, match="does not exist"):
        load_config({"GLEITZEIT_CONFIG": "~/none.yaml"}, home)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_config({"GLEITZEIT_CONFIG": "~/.gleitzeit"}, home)


def test_every_setting_has_a_field_and_every_field_a_setting() -> None:
    assert set(Config.__struct_fields__) == {*SETTINGS, "sources", "warnings"}


def test_services_find_the_folder_by_the_same_rule(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for environ in (
        {},
        {"GLEITZEIT_STATE": ""},
        {"GLEITZEIT_STATE": "/x/y"},
        {"GLEITZEIT_STATE": "~/z"},
        {"GLEITZEIT_STATE": "here"},
        {"GLEITZEIT_STATE_DIR": "/x/y"},
        {"GLEITZEIT_STATE_DIR": "/x/y", "GLEITZEIT_STATE": "/z"},
    ):
        assert default_folder(environ) == load_config(environ, tmp_path).state_dir
    assert default_folder({}) == tmp_path / ".gleitzeit"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "there")
    assert default_folder({}) == tmp_path / "there" / ".gleitzeit"
    monkeypatch.setenv("HOME", "")
    assert default_folder({}) == Path(pwd.getpwuid(os.getuid()).pw_dir, ".gleitzeit")


def test_a_token_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    with pytest.raises(ConfigurationError, match=f"{file} cannot be read"):
        read_token(file)
    file.write_text("  geheim\n")
    assert read_token(file) == "geheim"
    for text in ("", "\n", "geheim und mehr", "geheim\nmehr"):  # an empty one must not mean that everybody may come in
        file.write_text(text)
        with pytest.raises(ConfigurationError, match=str(file)) as refusal:
            read_token(file)
        assert "geheim" not in str(refusal.value)


def test_every_key_is_in_the_readme() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    section = readme.partition("\n## Configuration\n")[2].partition("\n## ")[0]
    assert [key for key in SETTINGS if f"`{key}`" not in section] == []

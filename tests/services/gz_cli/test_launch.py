from pathlib import Path

import pytest

from gz_cli.configuration import settings
from gz_cli.exits import NotRunning
from gz_cli.launch import Target, running, running_or_journal


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("GLEITZEIT_STATE", "GLEITZEIT_URL", "GLEITZEIT_COORDINATOR", "GLEITZEIT_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def test_a_configured_coordinator_is_taken_as_it_is(tmp_path: Path) -> None:
    address = running(Target(state=tmp_path, url="ws://there:1/", token="t")).address
    assert address is not None
    assert (address.url, address.token, address.embedded) == ("ws://there:1/", "t", False)


def test_nothing_runs_and_there_is_nothing_to_look_into(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="no coordinator runs"):
        running(Target(state=tmp_path))
    with pytest.raises(NotRunning):
        running_or_journal(Target(state=tmp_path, journal=tmp_path / "journal.db"))


def test_options_win_over_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLEITZEIT_COORDINATOR", "ws://there:1/")
    assert settings.target(None, None).url == "ws://there:1/"
    assert settings.target("ws://here:2/", None).url == "ws://here:2/"
    # who names a folder means the stack of that folder
    assert settings.target(None, tmp_path / "other").url is None
    assert settings.target(None, tmp_path / "other").state == tmp_path / "other"


def test_an_embedded_stack_is_told_what_somebody_has_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.target(None, None).stack_options == ()
    assert settings.target(None, None).journal == tmp_path / ".gleitzeit" / "journal.db"
    monkeypatch.setenv("GLEITZEIT_JOURNAL", "memory:")
    monkeypatch.setenv("NATS_URL", "nats://there:4222")
    target = settings.target(None, None, "echo")
    assert target.stack_options == ("--journal", "memory:", "--nats", "nats://there:4222")
    assert (target.journal, target.providers) == (None, ("echo",))


def test_the_foreground_stack_goes_on_with_everything(tmp_path: Path) -> None:
    config = settings.stack(providers="echo", listen="127.0.0.1:0", journal=None)
    assert (config.resume, config.listen, config.providers) == ("all", "127.0.0.1:0", ("echo",))
    assert (config.state, config.journal, config.log_level) == (tmp_path / ".gleitzeit", None, "warning")
    assert not config.embedded


def test_what_guards_a_stack_may_be_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".gleitzeit").mkdir()
    (tmp_path / ".gleitzeit" / "config.yaml").write_text("token_file: token\ntls_cert: cert.pem\nallow_env: [LANG]\n")
    monkeypatch.setenv("GLEITZEIT_TLS_CERT", "/other.pem")
    config = settings.stack(tls_key="/key.pem")
    assert config.token_file == tmp_path / ".gleitzeit" / "token"
    assert (config.tls_cert, config.tls_key) == (Path("/other.pem"), Path("/key.pem"))
    assert config.allow_env == ("LANG",)
    assert settings.target(None, None).stack_options == ("--allow-env", "LANG")


def test_defaults_for_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = settings.target(None, None)
    assert (target.task_timeout_seconds, target.max_parallel, target.tls_ca) == (None, None, None)
    monkeypatch.setenv("GLEITZEIT_DEFAULT_TIMEOUT", "5m")
    monkeypatch.setenv("GLEITZEIT_MAX_PARALLEL", "3")
    monkeypatch.setenv("GLEITZEIT_TLS_CA", "/ca.pem")
    target = settings.target(None, None, max_parallel=2)
    assert (target.task_timeout_seconds, target.max_parallel, target.tls_ca) == (300, 2, Path("/ca.pem"))
    assert settings.target(None, None, task_timeout="1s").task_timeout_seconds == 1

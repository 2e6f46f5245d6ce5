"""`gz auth login`: what is no token leaves nothing, however much it is."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from tests.services.gz_cli.here import gz


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "config.yaml"
    file.touch()
    monkeypatch.setenv("GLEITZEIT_CONFIG", str(file))
    return file


def test_a_stdin_without_an_end_is_no_token(config: Path) -> None:
    with open("/dev/zero", "rb") as endless:
        login = [sys.executable, "-m", "gz_cli", "auth", "login"]
        ended = subprocess.run(login, stdin=endless, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert ended.stderr == "gz: that is no token: it has more than 1,048,576 bytes\n"
    assert config.read_text() == ""


@pytest.mark.parametrize("text", ["", "\n", " \n"])
def test_nothing_is_no_token(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, config: Path, text: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    code, _, err = gz(capsys, "auth", "login")
    assert (code, err) == (2, "gz: there is no token: it is read from --file, typed, or read from stdin\n")
    assert config.read_text() == ""


def test_space_around_a_token_is_none_of_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, config: Path
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"  abc \n")))
    assert gz(capsys, "auth", "login")[0] == 0
    assert "token: abc\n" in config.read_text()

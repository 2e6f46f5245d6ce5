"""`gz secret`: kept for its owner alone, and never on the command line."""

import io
import json
import stat
from pathlib import Path

import pytest

from gz_cli.configuration.keeping import put_secret
from gz_cli.exits import UsageError
from gz_cli.main import main


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLEITZEIT_STATE", str(tmp_path / "state"))


def said(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def test_one_is_kept_listed_and_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "state" / "secrets" / "API_KEY"
    for text in ("first\n", "söcond line\nand more"):
        said(text, monkeypatch)
        assert main(["secret", "set", "API_KEY"]) == 0
        assert file.read_text() == text.removesuffix("\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    capsys.readouterr()
    assert main(["secret", "list"]) == 0
    assert capsys.readouterr().out == "API_KEY\n"
    assert main(["secret", "delete", "APIKEY"]) == 3
    assert "did you mean 'API_KEY'?" in capsys.readouterr().err
    assert main(["secret", "delete", "API_KEY"]) == 0
    assert main(["secret", "list", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize("name", ["../token", "a b", "", "1x", "ä"])
def test_a_name_that_is_none_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    said("value", monkeypatch)
    assert main(["secret", "set", name]) == 2
    assert not (tmp_path / "state").exists()


def test_nothing_is_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said("\n", monkeypatch)
    assert main(["secret", "set", "KEY"]) == 2
    assert main(["secret", "set", "KEY", "--file", str(tmp_path / "nowhere")]) == 2


def test_what_has_no_end_is_no_secret(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it has more than 1,048,576 bytes"):
        put_secret("KEY", Path("/dev/zero"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_may_say_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said("of stdin", monkeypatch)
    (tmp_path / "key").write_text("of a file\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert main(["secret", "set", "API_KEY", "--file", str(tmp_path / "key")]) == 0
    assert (tmp_path / "state" / "secrets" / "API_KEY").read_text() == "of a file"
    for name, why in (("none", "No such file"), ("binary", "a secret is a text in UTF-8")):
        assert main(["secret", "set", "API_KEY", "--file", str(tmp_path / name)]) == 2
        assert why in capsys.readouterr().err
    assert (tmp_path / "state" / "secrets" / "API_KEY").read_text() == "of a file"

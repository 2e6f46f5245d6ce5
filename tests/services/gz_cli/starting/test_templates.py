"""`gz template`, against a running stack."""

from pathlib import Path

import pytest
from tests.services.gz_cli.here import gz

EXAMPLES = Path(__file__).parents[4] / "examples"


@pytest.fixture(autouse=True)
def _here(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GLEITZEIT_STATE", str(state))
    monkeypatch.chdir(tmp_path)


def test_a_document_is_kept_listed_shown_run_and_forgotten(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = EXAMPLES / "hello.yaml"
    assert gz(capsys, "template", "put", file, "-o", "id")[:2] == (0, "hello@1\n")
    assert gz(capsys, "template", "put", file)[1] == "hello@1 says the same already\n"
    assert gz(capsys, "template", "list")[1].splitlines()[1].split() == ["hello", "1", "1", "[name]"]
    assert gz(capsys, "template", "run", "hello", "-p", "name=Ada", "-q")[:2] == (0, "Hello, Ada!\n")
    (tmp_path / "other.yaml").write_text(gz(capsys, "template", "get", "hello")[1].replace("Hello, $", "Bye, $"))
    assert gz(capsys, "template", "put", "other.yaml", "--name", "hello")[1] == "hello@2\n"
    assert gz(capsys, "workflow", "from-template", "hello@1", "-q")[1] == "Hello, world!\n"
    assert gz(capsys, "template", "run", "hello", "-q")[1] == "Bye, world!\n"
    code, _, err = gz(capsys, "template", "run", "hallo")
    assert (code, err.splitlines()[0]) == (3, "gz: there is no template 'hallo' (did you mean 'hello'?)")
    assert gz(capsys, "template", "delete", "hello")[1] == "hello is deleted, 2 versions\n"
    assert gz(capsys, "template", "list")[1] == ""


def test_a_wrong_document_is_shown_with_its_lines(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("name: bad\ntasks:\n  - {id: a, method: echo/ech}\n")
    code, out, err = gz(capsys, "template", "put", "bad.yaml")
    assert (code, out) == (2, "")
    assert "bad.yaml:3:" in err
    assert "echo/echo" in err

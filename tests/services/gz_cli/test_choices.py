from pathlib import Path

import pytest
from tests.services.gz_cli.here import gz

from gz_cli.choices import clearer


def test_a_word_that_is_no_choice_is_told_with_the_one_that_was_meant() -> None:
    said = "Value error, 'pythn' is not one of 'python', 'llm'."
    assert clearer(said) == "'pythn' is not one of 'python', 'llm'; did you mean 'python'?"
    assert clearer("Value error, 'zzz' is not one of 'python', 'llm'.") == "'zzz' is not one of 'python', 'llm'."
    assert clearer("'x' is not a valid int range.") == "'x' is no whole number."
    assert clearer("'x' is not a valid integer.") == "'x' is not a valid integer."


@pytest.mark.parametrize("empty", ["", " "])
@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("run _", "FILE"), ("validate hello.yaml _", "FILE"), ("template put _", "FILE"), ("batch _", "DIR"),
        ("retry w _", "TASK"), ("drain _", "NAME"), ("schedule delete _", "NAME"), ("mcp accept _", "NAME"),
        ("list --state _", "--state"), ("submit hello.yaml -f _", "--params-file"),
    ],
)  # fmt: skip
def test_a_variable_that_is_not_set_names_nothing(
    capsys: pytest.CaptureFixture[str], words: str, what: str, empty: str
) -> None:
    code, _, err = gz(capsys, *(word.replace("_", empty) for word in words.split()))
    assert (code, err.partition(":")[2].partition("`")[0]) == (2, f" {what} is empty: is a variable not set? ")


def test_an_option_behind_an_equals_sign_may_be_empty_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--state is empty" in gz(capsys, "list", "--state=")[2]


def test_what_names_nothing_may_be_empty(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLEITZEIT_MCP_CONFIG", str(tmp_path / "mcp.json"))
    assert gz(capsys, "mcp", "add", "x", "--", "program", "--flag", "")[0] == 0

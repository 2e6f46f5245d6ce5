"""Which file has which command: a call imports one, and what it finds there is what the whole has."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
import typer

from gz_cli.app import FILES, complete
from gz_cli.main import main


def callbacks(app: typer.Typer) -> Iterator[tuple[str, str]]:
    """The commands below an app, with the modules in which they stand."""
    for command in app.registered_commands:
        assert command.callback is not None
        yield command.name or command.callback.__name__, command.callback.__module__
    for group in app.registered_groups:
        assert group.typer_instance is not None
        for name, module in callbacks(group.typer_instance):
            yield f"{group.name} {name}", module


def shown(app: typer.Typer) -> list[str]:
    commands = [(one.name or one.callback.__name__, one.hidden) for one in app.registered_commands if one.callback]
    groups = [(one.name or "", one.hidden) for one in app.registered_groups]
    return [name for name, hidden in [*commands, *groups] if hidden is not True]


def test_a_word_that_has_a_file_has_all_that_begins_with_it_there() -> None:
    standing: dict[str, set[str]] = {}
    for name, module in callbacks(complete()):
        standing.setdefault(name.split()[0], set()).add(module)
    for file, words in FILES.items():
        assert {word: standing[word] for word in words} == {word: {f"gz_cli.commands.{file}"} for word in words}


def test_every_command_that_the_help_shows_has_a_file() -> None:
    named = {word for words in FILES.values() for word in words}
    assert set(shown(complete())) - named == {"config"}  # which stands in two


@pytest.mark.parametrize("word", [words[0] for words in FILES.values() if words])
def test_what_is_imported_for_one_word_is_enough(word: str) -> None:
    code = (
        "import sys; from gz_cli.main import main; code = main([sys.argv[1], '--help'])\n"
        "files = [name for name in sys.modules if name.startswith('gz_cli.commands.')]\n"
        "sys.exit(code or (len(files) != 1 and str(files)))"
    )
    alone = subprocess.run([sys.executable, "-c", code, word], capture_output=True, text=True, check=False)
    assert (alone.returncode, alone.stderr) == (0, "")
    assert alone.stdout.startswith(f"Usage: gz {word}")


def test_a_word_that_nobody_knows_is_looked_for_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["statsu"]) == 2
    assert "status" in capsys.readouterr().err


def test_the_help_of_all_tells_what_the_commands_tell(capsys: pytest.CaptureFixture[str]) -> None:
    """It is made without looking at options; where they are looked at, it is the same."""
    assert main(["--help"]) == 0
    quick = capsys.readouterr().out
    assert main(["--debug", "--help"]) == 0
    assert capsys.readouterr().out == quick

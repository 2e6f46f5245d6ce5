"""What Tab offers, as the shells ask for it."""

from pathlib import Path

from typer.testing import CliRunner

from gz_cli.app import complete

EXAMPLES = Path(__file__).parents[3] / "examples"


def offered(*words: str, state: Path) -> list[str]:
    environ = {
        "_GZ_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(("gz", *words)),
        "COMP_CWORD": str(len(words)),
        "GLEITZEIT_STATE": str(state),
    }
    return CliRunner().invoke(complete(), prog_name="gz", env=environ).output.split()


def test_of_a_coordinator_that_runs_its_workflows_and_templates(state: Path) -> None:
    environ = {"GLEITZEIT_STATE": str(state)}
    submitted = CliRunner().invoke(complete(), ["submit", str(EXAMPLES / "hello.yaml"), "-o", "id"], env=environ)
    CliRunner().invoke(complete(), ["template", "put", str(EXAMPLES / "hello.yaml"), "--name", "greet"], env=environ)
    assert submitted.stdout.strip() in offered("get", "wf-", state=state)
    assert offered("explain", "He", state=state) == ["Hello@latest"]
    assert offered("template", "run", "gr", state=state) == ["greet"]


def test_without_one_nothing_is_started_and_what_ships_is_known(tmp_path: Path) -> None:
    assert offered("get", "", state=tmp_path) == []
    assert offered("call", "echo/e", state=tmp_path) == ["echo/echo", "echo/error"]
    assert offered("protocols", "timer", state=tmp_path) == ["timer", "timer/sleep", "timer/until"]
    assert list(tmp_path.iterdir()) == []

"""Every command of earlier versions is there and leads to one of today's; none stands in the main help."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from gz_cli.app import complete

EARLIER = """
exec; ask; monitor; serve; hub; start; logs; events; components; provider
workflow run; workflow submit; workflow status; workflow list; workflow get; workflow cancel; workflow retry
workflow watch; workflow logs; workflow export; workflow from-template; workflow list-templates; workflow list-active
task submit; task status; task list; task result
queue stats; backend list-tasks; backend list-workflows; backend get-task; backend get-result; backend stats
backend get-results-by-workflow; system start; system status; system config
cluster connect; cluster status; cluster nodes; dev start; dev stop; dev start-mcp; auth init; auth login; auth status
errors search; errors show; errors list; replay timeline; replay start; replay diff
config show; config create; config validate; config get; config set; config profiles; config init
""".replace("\n", ";").split(";")
COMMANDS = sorted({words.strip() for words in EARLIER if words.strip()})


@pytest.mark.parametrize("command", COMMANDS)
def test_it_is_there(command: str) -> None:
    ran = CliRunner().invoke(complete(), [*command.split(), "--help"])
    assert ran.exit_code == 0, ran.output


def test_the_main_help_shows_none_of_them() -> None:
    lines = CliRunner().invoke(complete(), ["--help"]).output.partition("Run:")[2].splitlines()
    shown = {line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "}
    assert "run" in shown
    assert shown.isdisjoint({command.split()[0] for command in COMMANDS} - {"config"})


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ("run", ("--watch", "--backend", "--provider")),
        ("submit", ("--wait", "--dry-run", "--priority", "--hub-url", "--params", "--param", "--output-file")),
        ("start", ("--background",)),
        ("status", ("--backend",)),
        ("validate", ("--online", "--schema")),
        ("init", ("--type", "--template", "-i")),
        ("history", ("--event",)),
        ("watch", ("--event",)),
    ],
)
def test_options_are_accepted(arguments: str, options: tuple[str, ...]) -> None:
    from typer.main import get_command

    command = get_command(complete()).commands[arguments]  # type: ignore[attr-defined]
    known = {name for param in command.params for name in param.opts}
    assert set(options) <= known


def test_errors_are_found_by_name_code_and_earlier_name() -> None:
    def said(*words: str) -> str:
        return CliRunner().invoke(complete(), ["errors", *words]).output

    assert "-29006" in said("show", "-29006")
    assert "OVERLOADED (earlier: RATE_LIMIT_EXCEEDED)" in said("search", "rate_limit")
    assert all(str(code) in said("list") for code in (-31001, -30009, -29008, -28006, -27005, -26005, -25006))


def test_the_configuration_file_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("GLEITZEIT_CONFIG", "GLEITZEIT_LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)

    def gz(*words: str) -> tuple[int, str]:
        ran = CliRunner().invoke(complete(), ["config", *words])
        return ran.exit_code, ran.stdout.strip()

    file = tmp_path / ".gleitzeit" / "config.yaml"
    assert gz("init") == (0, str(file))
    assert gz("get", "log_level") == (0, "info")
    assert gz("set", "log-level", "debug")[0] == 0
    assert gz("set", "providers", "[echo, http]")[0] == 0
    assert gz("set", "log_level", "warning")[0] == 0
    assert (gz("get", "log_level"), gz("get", "providers")) == ((0, "warning"), (0, "echo,http"))
    assert file.read_text().startswith("# What is not commented out")
    assert gz("set", "log_level", "loud")[0] != 0
    assert gz("get", "log_level") == (0, "warning"), "what would be refused is not written"
    assert gz("validate")[0] == 0
    file.write_text("profiles: {dev: {}, prod: {}}\n")
    assert gz("profiles") == (0, "dev\nprod")

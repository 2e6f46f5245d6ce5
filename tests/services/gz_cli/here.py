"""`gz` in this process."""

import pytest

from gz_cli.main import main


def gz(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Its exit code, and what it has written to stdout and stderr."""
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err

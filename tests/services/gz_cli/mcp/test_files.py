import os
from pathlib import Path

import pytest

from gleitzeit.process.state import Address, lock_state, publish_address
from gz_cli.mcp.files import tell_running


@pytest.mark.parametrize(
    ("providers", "embedded", "words"),
    [
        (("echo", "mcp"), False, "takes that up by itself"),
        (("echo", "python"), False, "`gz down`, then `gz up --provider echo,python,mcp`"),
        (("echo",), True, "`gz down`, or wait until it has ended"),
    ],
)
def test_who_changes_the_servers_is_told_what_the_running_stack_does_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], providers: tuple[str, ...], embedded: bool, words: str
) -> None:
    tell_running(tmp_path)
    assert capsys.readouterr().err == ""
    lock = lock_state(tmp_path)
    publish_address(tmp_path, Address("ws://127.0.0.1:1/", os.getpid(), embedded, providers=providers))
    tell_running(tmp_path)
    lock.release()
    assert words in capsys.readouterr().err

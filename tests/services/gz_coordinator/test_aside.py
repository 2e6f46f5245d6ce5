import asyncio
import os
import subprocess
import sys

import pytest

from gleitzeit.errors import ResourceExhausted
from gleitzeit.schemas import builtin
from gz_coordinator.aside import Aside

KILLED = """
import asyncio, os, signal
from gz_coordinator.aside import Aside

async def main():
    aside = Aside("is tried")
    assert await aside.run(os.getppid) == os.getpid()
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    asyncio.run(main())
"""


async def test_what_is_done_aside_is_answered_or_raised_here() -> None:
    aside = Aside("is tried")
    try:
        first = await aside.run(os.getpid)
        assert first != os.getpid()
        with pytest.raises(ValueError, match="invalid literal"):
            await aside.run(int, "x")
        with pytest.raises(FileNotFoundError):
            await aside.run(os.listdir, "/nowhere/at/all")
        with pytest.raises(TypeError, match="cannot pickle"):
            await aside.run(builtin)
        assert await aside.run(os.getpid) == first
    finally:
        aside.close()


async def test_of_what_it_dies_the_next_one_knows_nothing() -> None:
    aside = Aside("is tried")
    try:
        first = await aside.run(os.getpid)
        told = await asyncio.gather(aside.run(os._exit, 3), aside.run(os.getpid), return_exceptions=True)
        for error in told:
            assert isinstance(error, ResourceExhausted), error
            assert "the process that is tried has died" in error.message
        assert await aside.run(os.getpid) != first
    finally:
        aside.close()
        aside.close()


def test_after_a_kill_nobody_complains_and_nothing_is_left(tmp_path: object) -> None:
    """Its end of stderr is closed only when all have ended that had it."""
    script = f"{tmp_path}/killed.py"
    with open(script, "w", encoding="utf-8") as file:
        file.write(KILLED)
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (-9, "")

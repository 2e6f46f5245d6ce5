"""As a newcomer: a clean clone, a new virtual environment, README only."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import support

ROOT = Path(__file__).resolve().parents[2]


def shell(command: str, folder: Path, state: Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    drop = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")
    environ = {name: value for name, value in os.environ.items() if name not in drop}
    # What pip would compile ahead is not looked at here, and takes a fifth of the time.
    environ |= {"GLEITZEIT_STATE": str(state), "NO_COLOR": "1", "PIP_COMPILE": "0"}
    return subprocess.run(
        ["bash", "-euc", command], cwd=folder, env=environ, capture_output=True, text=True, timeout=timeout,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is tracked, as it stands in the working tree."""
    folder = tmp_path_factory.mktemp("clone") / "gleitzeit"
    folder.mkdir()
    command = f"git ls-files -z | xargs -0 cp --parents -t {folder}"
    subprocess.run(["bash", "-euc", command], cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="module")
def main_job(checkout: Path) -> subprocess.CompletedProcess[str]:
    found = re.search(r"<!-- main-job -->\n```sh\n(.*?)```", (checkout / "README.md").read_text(), re.DOTALL)
    assert found, "README.md shows no main job"
    return shell(found[1], checkout, checkout.parent / "state")


def test_the_main_job_of_the_readme(main_job: subprocess.CompletedProcess[str]) -> None:
    assert main_job.returncode == 0, main_job.stderr
    assert re.match(r"# The standard library of Python 3\.\d+", main_job.stdout), main_job.stdout[:500]
    assert "completed" in main_job.stderr


def test_the_embedded_stack_ends_with_its_last_client(
    main_job: subprocess.CompletedProcess[str], checkout: Path
) -> None:
    state = checkout.parent / "state"
    assert main_job.returncode == 0
    support.wait_for(lambda: not (state / "stack.json").exists())


def test_what_is_installed_needs_nothing_of_the_checkout(
    main_job: subprocess.CompletedProcess[str], checkout: Path, tmp_path: Path
) -> None:
    assert main_job.returncode == 0
    for folder in ("libs", "services", "schemas"):
        (checkout / folder).rename(checkout / f"{folder}.away")
    workflow = tmp_path / "hello.yaml"
    workflow.write_text("name: w\ntasks:\n  - {id: a, method: python/execute, params: {code: result = 6 * 7}}\n")
    ran = shell(f"{checkout / '.venv/bin/gz'} run {workflow}", tmp_path, tmp_path / "state")
    assert (ran.returncode, ran.stdout.strip()) == (0, "42"), ran.stderr

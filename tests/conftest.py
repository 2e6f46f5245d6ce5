"""What tests of several rooms need."""

import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.servers import Postgres, Redis

# A property may take long on a busy machine without being wrong.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    """Hundreds of processes are started here: where bytecode may not be kept beside the source, keep it elsewhere."""
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        os.environ.setdefault("PYTHONPYCACHEPREFIX", str(config.rootpath / ".pytest_cache" / "bytecode"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The simulation first, which takes longest and in one process: else the others wait for it at the end."""
    items.sort(key=lambda item: "simulation" not in item.path.parts)


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that was run in this process sends its logging to the stderr of its test, which is soon closed."""
    root = logging.getLogger()
    level = root.level
    yield
    for handler in root.handlers[:]:
        if type(handler) is logging.StreamHandler:  # pytest's own are of other classes
            root.removeHandler(handler)
            root.setLevel(level)


class Certificate(NamedTuple):
    """Signed by itself. `name` is the only host for which it is good."""

    file: Path
    key: Path
    name: str


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """For `localhost`."""
    return make_certificate(tmp_path_factory.mktemp("certificate"), "localhost")


@pytest.fixture(scope="session")
def foreign_certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """With a name by which nobody reaches this machine."""
    return make_certificate(tmp_path_factory.mktemp("certificate"), "gleitzeit.example")


def make_certificate(folder: Path, name: str) -> Certificate:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl")
    made = Certificate(folder / "cert.pem", folder / "key.pem", name)
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "1", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    subprocess.run([*command, "-out", made.file, "-keyout", made.key], check=True, capture_output=True)
    return made


@pytest.fixture(scope="session")
def postgres() -> "Iterator[Postgres]":
    from tests.servers import Postgres  # half a second, for those who need it

    server = Postgres()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis() -> "Iterator[Redis]":
    from tests.servers import Redis  # as above

    server = Redis()
    yield server
    server.stop()

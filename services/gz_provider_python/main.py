"""python/v1: runs scripts and functions, each call in a process of its own with limits."""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gleitzeit.config import default_folder
from gleitzeit.provider import Provider
from gleitzeit.provider.process import positive
from gz_provider_python.isolation import Isolation
from gz_provider_python.methods import PythonMethods, Settings
from gz_provider_python.processes import ProcessIsolation
from gz_provider_python.wire import Limits

CAPACITY = max(2, 2 * (os.cpu_count() or 1))
"""Scripts wait about as often as they compute."""


def build(isolation: Isolation, settings: Settings) -> Provider:
    """The provider, ready to be served."""

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        await isolation.start()
        try:
            yield
        finally:
            await isolation.close()

    provider = Provider("python", protocols=["python/v1"], capacity=CAPACITY, lifespan=lifespan)
    methods = PythonMethods(isolation, settings)
    for name in ("execute", "eval", "validate", "info", "register", "list"):
        provider.method(f"python/{name}")(getattr(methods, name))
    return provider


def run() -> None:
    """The console script `gz-provider-python`."""
    options = _parser().parse_args()
    build(ProcessIsolation(), _settings(options)).main(options)


def _parser() -> ArgumentParser:
    parser = Provider("python", protocols=["python/v1"], capacity=CAPACITY).parser()
    group = parser.add_argument_group("scripts", "What one script may use, each of its processes for itself.")
    default = Limits()
    for name, value, meaning in (
        ("--memory-mib", default.memory_bytes >> 20, "address space"),
        ("--file-mib", default.file_bytes >> 20, "size of a file"),
        ("--open-files", default.open_files, "files open at once"),
    ):
        group.add_argument(name, metavar="N", type=positive, default=value, help=f"{meaning} (default %(default)s)")
    group.add_argument(
        "--functions", metavar="DIR", type=Path, default=_default_functions(),
        help="modules whose functions tasks may call as module.function, and where python/register keeps what it "
        "takes (default: functions in the state folder)",
    )  # fmt: skip
    return parser


def _settings(options: Namespace) -> Settings:
    limits = Limits(options.memory_mib << 20, options.file_mib << 20, options.open_files)
    return Settings(options.functions.expanduser().absolute(), limits, Path.cwd())


def _default_functions() -> Path:
    return default_folder(os.environ) / "functions"

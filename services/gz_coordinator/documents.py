"""From a submitted document to a definition; large ones are checked in a process of their own, beside the loop."""

import asyncio
import gc
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import msgspec
from msgspec import Struct

from gleitzeit.errors import DocumentError
from gleitzeit.model.definition import Definition
from gleitzeit.schemas import Catalogue, builtin, methods_of, openrpc
from gleitzeit.spec.check import check
from gleitzeit.spec.problems import Problem

LARGE_BYTES = 256 << 10


class Verdict(Struct, frozen=True):
    definition: Definition | None
    problems: tuple[Problem, ...]

    @property
    def warnings(self) -> list[str]:
        return [problem.message for problem in self.problems if problem.severity == "warning"]


def problem_view(problem: Problem) -> dict[str, Any]:
    view: dict[str, Any] = {"path": list(problem.path), "message": problem.message, "severity": problem.severity}
    if problem.suggestion:
        view["suggestion"] = problem.suggestion
    return view


class Documents:
    """Checks documents against what is known of methods at the moment."""

    def __init__(self) -> None:
        self.described: bytes = b"{}"
        """What providers say of their methods, beyond what ships with us, as an OpenRPC document."""
        self._pool: ProcessPoolExecutor | None = None

    def providers_describe(self, catalogue: Catalogue) -> None:
        known = builtin()
        extra = [method for name, method in catalogue.methods.items() if known.get(name) is None]
        self.described = msgspec.json.encode(openrpc("", "", extra, {}))

    async def check(self, document: object, size_bytes: int, catalogue: Catalogue) -> Verdict:
        """Never raises for what the document says: that is in `problems`."""
        if size_bytes <= LARGE_BYTES:
            return _check(document, catalogue)
        if self._pool is None:  # what it makes is dropped whole, without cycles: no garbage to look for
            self._pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=gc.disable)
        work = msgspec.json.encode(document), self.described
        answer = await asyncio.get_running_loop().run_in_executor(self._pool, _check_encoded, *work)
        return msgspec.json.decode(answer, type=Verdict)

    async def definition(self, document: object, size_bytes: int, catalogue: Catalogue) -> Verdict:
        """As `check`, for a document that must be in order. Raises DocumentError with all problems."""
        verdict = await self.check(document, size_bytes, catalogue)
        errors = [problem for problem in verdict.problems if problem.severity == "error"]
        if verdict.definition is None or errors:
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            message = f"{errors[0].message}{more}" if errors else "the document cannot be run"
            raise DocumentError(message, {"problems": [problem_view(problem) for problem in verdict.problems]})
        return verdict

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


def _check(document: object, catalogue: Catalogue) -> Verdict:
    checked = check(document, catalogue)
    return Verdict(checked.definition, checked.problems)


def _check_encoded(document: bytes, described: bytes) -> bytes:
    """In the other process."""
    catalogue = builtin()
    if described != b"{}":
        catalogue = catalogue.with_methods(methods_of(msgspec.json.decode(described)))
    return msgspec.json.encode(_check(msgspec.json.decode(document), catalogue))

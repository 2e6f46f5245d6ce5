"""From a submitted document to a definition; large ones are checked in a process of their own, beside the loop."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from gleitzeit.jsonrpc.methods import Request
from gleitzeit.model.definition import Definition
from gleitzeit.model.events import NULL
from gleitzeit.model.traces import accepted
from gleitzeit.schemas import Catalogue, builtin, methods_of, openrpc
from gleitzeit.spec.check import check
from gleitzeit.spec.environment import resolve_env
from gleitzeit.spec.files.batches import has_batches
from gleitzeit.spec.files.subworkflows import places_of
from gleitzeit.spec.loading.load import repeated_keys
from gleitzeit.spec.problems import Problem, document_error
from gz_coordinator.aside import Aside

LARGE_BYTES = 256 << 10


class Verdict(Struct, frozen=True):
    definition: Definition | None
    problems: tuple[Problem, ...]

    @property
    def warnings(self) -> list[str]:
        return warnings_in(self.problems)


class Submitted(Struct, frozen=True):
    """A large submit, as the other process has understood it. `null` for a definition: it is not in order."""

    definition: Raw
    problems: tuple[Problem, ...]
    inputs: Raw
    idempotency_key: str
    body_sha256: str
    hold: bool
    traceparent: str = ""


class Documents:
    """Checks documents against what is known of methods at the moment. `environ` is what any of them may read."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = dict(environ or {})
        self._catalogue = builtin()
        self._described: bytes | None = b"{}"
        self._aside = Aside("checks large documents")

    def providers_describe(self, catalogue: Catalogue) -> None:
        self._catalogue, self._described = catalogue, None

    @property
    def described(self) -> bytes:
        """What providers say of their methods, beyond what ships with us, as an OpenRPC document: made when the first
        large document has to be checked."""
        if self._described is None:
            known = builtin()
            extra = [method for name, method in self._catalogue.methods.items() if known.get(name) is None]
            self._described = msgspec.json.encode(openrpc("", "", extra, {}))
        return self._described

    async def check(
        self, document: object, inputs: Mapping[str, Any] | None, size_bytes: int, catalogue: Catalogue
    ) -> Verdict:
        """Never raises for what the document says: that is in `problems`. `inputs` None: not known yet."""
        if size_bytes <= LARGE_BYTES:
            return _check(document, inputs, self._environ, catalogue)
        work = msgspec.json.encode([document, inputs, self._environ])
        answer = await self._aside.run(_check_encoded, work, self.described)
        return msgspec.json.decode(answer, type=Verdict)

    async def size_of(self, request: Request) -> int:
        """About how many bytes the definition in its params has. Raises DocumentError if keys are there twice, of which
        what is decoded has only the last."""
        params = bytes(request.raw_params or b"{}")
        if len(params) > LARGE_BYTES:
            found = await self._aside.run(_repeated, params)
        else:  # what would be written just so has no key twice
            found = () if msgspec.json.encode(request.params) == params else _repeated(params)
        if found:
            raise document_error(found)
        return len(params)

    async def submitted(self, params: bytes, catalogue: Catalogue) -> Submitted | None:
        """For the params of a `workflow.submit`, which are never decoded here. None if more is needed for them than the
        document itself, or if they are wrong: decode them and see."""
        work = params, msgspec.json.encode(self._environ), self.described
        answer, definition = await self._aside.run(_submitted, *work)
        found = msgspec.json.decode(answer, type=Submitted | None)
        return replace(found, definition=Raw(definition)) if found is not None else None

    def warm_up(self) -> None:
        """Start the other process before the first large document waits for it."""
        self._aside.warm_up(builtin)

    async def definition(
        self, document: object, inputs: Mapping[str, Any], size_bytes: int, catalogue: Catalogue
    ) -> Verdict:
        """As `check`, for a document that must be in order. Raises DocumentError with all problems."""
        verdict = await self.check(document, inputs, size_bytes, catalogue)
        in_order(verdict)
        return verdict

    def close(self) -> None:
        self._aside.close()


def warnings_in(problems: Iterable[Problem]) -> list[str]:
    return [problem.message for problem in problems if problem.severity == "warning"]


def in_order(verdict: Verdict) -> Definition:
    """The definition of a document that must be in order. Raises DocumentError with all problems."""
    if verdict.definition is None:
        raise document_error(verdict.problems)
    return verdict.definition


def _check(
    document: object, inputs: Mapping[str, Any] | None, environ: Mapping[str, str], catalogue: Catalogue
) -> Verdict:
    if environ and isinstance(document, dict):
        document = resolve_env(document, environ, declared_wins=True)
    checked = check(document, catalogue, inputs=inputs)
    return Verdict(checked.definition, checked.problems)


def _repeated(params: bytes) -> tuple[Problem, ...]:
    """Without lines, which are none of the author's. The path of what is in the definition begins there."""
    found = repeated_keys(params.decode())
    return tuple(
        replace(one, path=one.path[1:] if one.path[0] in ("definition", 0) else one.path, line=0, column=0, at_key=True)
        for one in found
    )


def _check_encoded(work: bytes, described: bytes) -> bytes:
    """In the other process."""
    document, inputs, environ = msgspec.json.decode(work)
    return msgspec.json.encode(_check(document, inputs, environ, _catalogue(described)))


def _submitted(params: bytes, environ: bytes, described: bytes) -> tuple[bytes, bytes]:
    """In the other process. The definition, which may be very large, is no part of what has to be decoded."""
    asked = msgspec.json.decode(params)
    if repeated := _repeated(params):
        return msgspec.json.encode(Submitted(NULL, repeated, NULL, "", "", False)), b"null"
    catalogue = _catalogue(described)
    trace = trace_in(asked)
    if isinstance(asked, dict):
        asked.pop("_meta", None)
    if not isinstance(asked, dict) or catalogue.methods["workflow.submit"].take_params(asked):
        return b"null", b""
    document = asked["definition"]
    if has_batches(document) or any(places_of(document)):
        return b"null", b""
    inputs, key = asked.get("inputs") or {}, asked.get("idempotency_key", "")
    verdict = _check(document, inputs, msgspec.json.decode(environ), catalogue)
    body = digest([document, inputs]) if key else ""
    raw_inputs = Raw(msgspec.json.encode(inputs))
    found = Submitted(NULL, verdict.problems, raw_inputs, key, body, asked.get("hold", False), trace)
    return msgspec.json.encode(found), msgspec.json.encode(verdict.definition)


def _catalogue(described: bytes) -> Catalogue:
    known = builtin()
    return known if described == b"{}" else known.with_methods(methods_of(msgspec.json.decode(described)))


def trace_in(params: Any) -> str:
    """What a submit says in `_meta`, beside its params, that it is a part of."""
    meta = params.get("_meta") if isinstance(params, dict) else None
    return accepted(meta.get("traceparent")) if isinstance(meta, dict) else ""


def digest(body: Any) -> str:
    """Of a submit's document and inputs: the same with the same key is no other workflow."""
    return hashlib.sha256(msgspec.json.encode(body, order="deterministic")).hexdigest()

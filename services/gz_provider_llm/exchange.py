"""One question to one model: what is heard of the answer meanwhile, and what is done about one that is not as asked."""

import time
from collections.abc import Sequence
from typing import Any, Protocol

from msgspec import Struct

from gleitzeit.errors import BudgetExceeded
from gleitzeit.provider import Call
from gz_provider_llm.backends.backend import OnDelta
from gz_provider_llm.errors import BadOutput, ModelNotFound, UnreadableOutput
from gz_provider_llm.shapes.requests import ChatRequest
from gz_provider_llm.shapes.results import ChatResult
from gz_provider_llm.shapes.structured import TRIES, Format, ask_again


class Asked(Protocol):
    """Who sends requests."""

    async def ask(self, request: ChatRequest, on_delta: OnDelta, *, patient: bool) -> ChatResult:
        """Raises RateLimited, or waits if it is `patient`."""

    async def pull(self, call: Call, model: str) -> bool:
        """Fetch a model that is missing; False if that cannot be."""


class Watch:
    """Takes the time of an answer, and passes its text on to those who watch."""

    def __init__(self, say: OnDelta | None) -> None:
        self._say = say
        self._began = time.perf_counter()
        self._first: float | None = None

    def on_delta(self, text: str) -> None:
        if self._first is None:
            self._first = time.perf_counter()
        if self._say is not None:
            self._say(text)

    def begin(self) -> None:
        """An answer begins. Who watches has no use for one after a part of another."""
        if self._first is not None:
            self.hush()

    def hush(self) -> None:
        """What comes now is not for those who watch."""
        self._say = None

    def timings_ms(self) -> dict[str, float]:
        total = {"total": (time.perf_counter() - self._began) * 1000}
        return total if self._first is None else total | {"first_token": (self._first - self._began) * 1000}


class Exchange(Struct, frozen=True):
    """The requests that one answer takes: more than one if it has to be JSON, and was not."""

    asked: Asked
    call: Call
    watch: Watch
    patient: bool = False
    pull: bool = False

    async def run(self, request: ChatRequest) -> tuple[ChatResult, dict[str, Any]]:
        """The answer, and what it adds to the result on the wire."""
        if not request.json:
            return await self._ask(request, patient=self.patient), {}
        return await self._ask_for_json(request, Format(request.json_schema))

    async def _ask_for_json(self, request: ChatRequest, wanted: Format) -> tuple[ChatResult, dict[str, Any]]:
        problems: tuple[str, ...] = ()
        for tries in range(1, TRIES + 1):
            # What has been paid for is not thrown away because a limit is reached.
            try:
                result = await self._ask(request, patient=self.patient or tries > 1)
            except UnreadableOutput as error:
                if tries == TRIES:
                    raise
                problems = (error.message,)
                request = self._once_more(request, tries, "", problems)
                continue
            except BudgetExceeded as error:
                if problems:
                    error.message += f"; {_no_json(problems)}"
                raise
            if result.tool_calls and not result.content:
                return result, {}
            parsed = wanted.parse(result.content)
            if not parsed.problems:
                return result, {"json": parsed.value}
            if result.finish_reason == "length":
                raise _bad_output("the answer was cut off: raise max_tokens", result, parsed.problems)
            problems = parsed.problems
            request = self._once_more(request, tries, result.content, problems)
        raise _bad_output(_no_json(problems, TRIES), result, problems)

    def _once_more(self, request: ChatRequest, tries: int, content: str, problems: tuple[str, ...]) -> ChatRequest:
        self.watch.hush()
        self.call.log(f"no valid JSON in try {tries} of {TRIES}: {'; '.join(problems)}", "warning")
        return request.with_messages(*ask_again(content, problems))

    async def _ask(self, request: ChatRequest, *, patient: bool) -> ChatResult:
        try:
            result = await self.asked.ask(request, self.watch.on_delta, patient=patient)
        except ModelNotFound:
            if not self.pull or not await self.asked.pull(self.call, request.model):
                raise
            result = await self.asked.ask(request, self.watch.on_delta, patient=patient)
        _check_tool(request, result)
        return result


def _no_json(problems: Sequence[str], tries: int = 0) -> str:
    return f"no valid JSON{f' in {tries} tries' if tries else ''}: {'; '.join(problems)}"


def _check_tool(request: ChatRequest, result: ChatResult) -> None:
    """Raises BadOutput where a tool had to be called and was not: not every server can make its model do so."""
    if not (request.tool_name or request.tool_choice == "required"):
        return
    called = [call.name for call in result.tool_calls]
    if request.tool_name in called or (called and not request.tool_name):
        return
    wanted = f"the tool {request.tool_name}" if request.tool_name else "a tool"
    if called:
        message = f"the model called {', '.join(called)} in place of {wanted}"
    elif result.finish_reason == "length":
        message = f"the answer was cut off before {wanted} was called: raise max_tokens"
    else:
        message = f"the model answered without calling {wanted}; this server ignores tool_choice, or cannot enforce it"
    raise _bad_output(message, result, (message,))


def _bad_output(message: str, result: ChatResult, problems: tuple[str, ...]) -> BadOutput:
    return BadOutput(message, {"content": result.content, "problems": list(problems)})

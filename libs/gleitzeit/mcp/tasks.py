"""What a server answers that has only begun (MCP's tasks): asked how it goes until it has ended, and for its result.

stateless   an answer of `resultType: task`; `tasks/get` tells the rest, result and questions to us included
old era     (2025-11-25) a call with `task`, as a tool may require; the result is `tasks/result`'s
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, Struct

from gleitzeit.errors import RemoteError
from gleitzeit.jsonrpc.messages import ABSENT
from gleitzeit.mcp.inquiries import Inquiries
from gleitzeit.mcp.session import ServerInfo

PAUSE_SECONDS: Final = 1.0
"""Between questions, for a server that wishes nothing."""
SHORTEST_SECONDS: Final = 0.05
LONGEST_SECONDS: Final = 60.0

Ask = Callable[[str, dict[str, Any]], Awaitable[Raw]]
Status = Literal["working", "input_required", "completed", "failed", "cancelled"]


class State(Struct, frozen=True, rename="camel"):
    """How a task of a server stands, in the words of both eras."""

    task_id: str
    status: Status
    status_message: str | None = None
    poll_interval_ms: float | None = None
    poll_interval: float | None = None
    input_requests: dict[str, Any] = {}
    result: Raw = ABSENT
    error: dict[str, Any] = {}

    @property
    def pause_seconds(self) -> float:
        wished = self.poll_interval_ms if self.poll_interval_ms is not None else self.poll_interval
        seconds = PAUSE_SECONDS if wished is None else wished / 1000
        return min(max(seconds, SHORTEST_SECONDS), LONGEST_SECONDS)


class _Began(Struct, frozen=True, rename="camel"):
    result_type: str = "complete"
    task: State | None = None


class _Execution(Struct, frozen=True, rename="camel"):
    task_support: str = "forbidden"


class _Tool(Struct, frozen=True):
    execution: _Execution | None = None


def wants_task(info: ServerInfo, definition: Raw) -> bool:
    """Whether a call of the tool has to say that it may become a task: in the old era, if the tool requires it."""
    if info.era == "stateless" or not len(definition) or b'"taskSupport"' not in bytes(definition):
        return False
    execution = msgspec.json.decode(definition, type=_Tool).execution
    return execution is not None and execution.task_support == "required"


def begun(info: ServerInfo, answer: Raw) -> State | None:
    """The task that an answer to `tools/call` is, if it is one. Raises MsgspecError."""
    if b'"task' not in bytes(answer):
        return None
    found = msgspec.json.decode(answer, type=_Began)
    if info.era == "stateless":
        return msgspec.json.decode(answer, type=State) if found.result_type == "task" else None
    return found.task


async def ended(
    info: ServerInfo, state: State, ask: Ask, inquiries: Inquiries, on_state: Callable[[State], None]
) -> Raw:
    """The result of what the task was begun for. `on_state` hears how it stands, whenever that was asked. Raises what
    `ask` does, MsgspecError, and RemoteError for one that failed or was cancelled there."""
    about, answered = {"taskId": state.task_id}, set[str]()
    while True:
        on_state(state)
        if info.era == "handshake" and state.status != "working":
            return await ask("tasks/result", about)  # which waits, if there are questions: they are asked meanwhile
        if state.status == "completed":
            return state.result
        if state.status in ("failed", "cancelled"):
            raise _failure(state)
        new = {key: one for key, one in state.input_requests.items() if key not in answered}
        if new:
            await ask("tasks/update", {**about, "inputResponses": await _answers(inquiries, new)})
            answered.update(new)
        await asyncio.sleep(state.pause_seconds)
        state = msgspec.json.decode(await ask("tasks/get", about), type=State)


async def _answers(inquiries: Inquiries, asked: Mapping[str, Any]) -> dict[str, Any]:
    return {key: await inquiries.answer(str(one.get("method")), one.get("params")) for key, one in asked.items()}


def _failure(state: State) -> RemoteError:
    code, message = state.error.get("code"), state.error.get("message")
    said = message if isinstance(message, str) and message else state.status_message
    why = f"the server has {'cancelled the call' if state.status == 'cancelled' else 'failed'}"
    return RemoteError(code if isinstance(code, int) else -32603, said or why)

"""`gz chat`: to talk with a model. Every turn is a workflow, so that what was said is in the journal.

A person is waited for in the main thread, where the terminal's own line editing and Ctrl-C work; the connection lives
in a thread beside it and stays awake meanwhile.
"""

import os
import signal
import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from pathlib import Path
from typing import Any, TypeVar

from gleitzeit.client import Prepared, StreamItem, WatchEvent, prepare
from gleitzeit.client.coordinator import Coordinator
from gleitzeit.client.models import with_model
from gleitzeit.client.served import require_model
from gleitzeit.client.sync import Background
from gleitzeit.errors import GleitzeitError
from gleitzeit.model.events import TaskFellBack, TaskRetrying, TaskTurnedBack
from gleitzeit.spec.loading.load import load_object
from gleitzeit.spec.problems import sentence
from gz_cli import exits
from gz_cli.connect import connected
from gz_cli.launch import Reach
from gz_cli.terminal.ink import first_line
from gz_cli.terminal.output import PAYLOAD_KEYS
from gz_cli.terminal.screen import is_live
from gz_cli.terminal.talk import complain, put, say

T = TypeVar("T")
TASK = "answer"
PROMPT = "> "
GOODBYES = frozenset({"/bye", "/exit", "/quit"})


class Conversation:
    """Keeps what was said. `params` go to the model with every turn (model, temperature, …)."""

    def __init__(self, client: Coordinator, params: Mapping[str, object], system: str | None) -> None:
        self._client = client
        self._params = params
        self._messages: list[dict[str, str]] = [{"role": "system", "content": system}] if system else []
        self.workflow_id = ""
        """Of the turn under way."""

    async def ask(self, prompt: str, answer: "Answer") -> str:
        """One turn: the status of its workflow. What was not answered is as if it had not been said."""
        messages = [*self._messages, {"role": "user", "content": prompt}]
        inputs = {**self._params, "messages": messages}
        submitted = await self._client.submit_definition(document(self._params), inputs=inputs)
        self.workflow_id = submitted.workflow_id
        async with aclosing(self._client.watch(self.workflow_id)) as items:
            async for item in items:
                answer.show(item)
        result = await self._client.result(self.workflow_id)
        self.workflow_id = ""
        if result.status == "completed":
            text = text_of(result.results[TASK])
            answer.end(text)
            self._messages = [*messages, {"role": "assistant", "content": text}]
        else:
            answer.break_off(result.error.message if result.error is not None else result.status)
        return result.status

    async def cancel(self) -> None:
        """The turn under way."""
        if self.workflow_id:
            await self._client.cancel(self.workflow_id, reason="Ctrl-C in gz chat")


class Answer:
    """One answer on stdout: as it grows where that is a terminal, else when it is complete."""

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._attempt = 0
        self._shown = ""
        self._torn = False
        """What stands there is not the beginning of the text."""

    def show(self, item: object) -> None:
        if isinstance(item, StreamItem) and self._live:
            if item.attempt != self._attempt:
                self._again(item.attempt)
            self._torn = self._torn or item.gap
            self._shown += item.delta
            _write(item.delta)
        elif isinstance(item, WatchEvent) and isinstance(item.event, TaskRetrying | TaskFellBack | TaskTurnedBack):
            self._leave_line()
            say(f"({first_line(item.event.error.message)}; trying again)")

    def end(self, text: str) -> None:
        if not self._live:
            put(text)
        elif not self._torn and text.startswith(self._shown):
            _write(text[len(self._shown) :] + "\n")
        else:
            self._leave_line()
            _write(text + "\n")

    def break_off(self, why: str) -> None:
        self._leave_line()
        say(f"gz: no answer: {why}" if why != "cancelled" else "(cancelled)")

    def _again(self, attempt: int) -> None:
        """A new attempt voids what stands there."""
        self._leave_line()
        self._attempt, self._shown, self._torn = attempt, "", False

    def _leave_line(self) -> None:
        if self._shown and not self._shown.endswith("\n"):
            _write("\n")
            self._shown += "\n"


def document(params: Mapping[str, object]) -> dict[str, Any]:
    """A turn as a workflow. All that a person said comes as inputs: no word of it is read for references."""
    named = {name: f"${{inputs.{name}}}" for name in ("messages", *params)}
    return {"name": "chat", "tasks": [{"id": TASK, "method": "llm/chat", "params": named}]}


def prepared(params: Mapping[str, object]) -> Prepared:
    return prepare(load_object(document(params)), folder=Path(), environ={})


def text_of(result: object) -> str:
    if isinstance(result, Mapping):
        found = next((result[key] for key in PAYLOAD_KEYS if isinstance(result.get(key), str)), "")
        return str(found)
    return str(result)


def talk(reach: Reach, prompt: str | None, params: Mapping[str, object], system: str | None) -> int:
    """One question, or with `prompt` None as many as somebody asks.

    Raises UsageError for params that llm/chat does not take, NoModel and what connecting raises.
    """
    ready = prepared(params)
    checked = ready.checked
    if checked is None:
        raise exits.UsageError("; ".join(sentence(problem) for problem in ready.errors))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: a turn that nobody reads is not paid for
    found = with_model(reach, checked, os.environ, params)
    say(found.note)
    with Background() as background:
        opened = connected(found)
        client = background.run(_enter(opened))
        try:
            background.run(require_model(client, checked, found))
            conversation = Conversation(client, params, system)
            if prompt is not None:
                status = turn(background, conversation, prompt)
                return exits.INTERRUPTED if status == "cancelled" else exits.of_status(status)
            return converse(background, conversation)
        finally:
            background.run(_leave(opened))


async def _enter(opened: AbstractAsyncContextManager[Coordinator]) -> Coordinator:
    return await opened.__aenter__()


async def _leave(opened: AbstractAsyncContextManager[Coordinator]) -> None:
    await opened.__aexit__(None, None, None)


def converse(background: Background, conversation: Conversation) -> int:
    """Until the end of what is typed (Ctrl-D), or Ctrl-C where a question is waited for."""
    interactive = sys.stdin.isatty()
    if interactive:
        import readline  # noqa: F401 - input() edits lines once it is imported

        say("Ctrl-C stops an answer, Ctrl-D or /bye ends the conversation.")
    while True:
        try:
            line = input(PROMPT) if interactive else _line()
        except (EOFError, KeyboardInterrupt):
            if interactive:
                print()
            return exits.OK
        if line.strip() in GOODBYES:
            return exits.OK
        if line.strip():
            turn(background, conversation, line)


def _line() -> str:
    """Raises EOFError, as `input` does, but shows no prompt."""
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")


def turn(background: Background, conversation: Conversation, prompt: str) -> str:
    """The status of its workflow; "failed" if it could not be asked at all. Ctrl-C cancels it."""
    asked = background.start(conversation.ask(prompt, Answer(live=is_live(sys.stdout))))
    while True:
        try:
            return asked.result()
        except KeyboardInterrupt:
            background.run(conversation.cancel())
        except GleitzeitError as error:
            complain(exits.complaint(error))
            return "failed"


def _write(text: str) -> None:
    """Nobody's words may move the cursor, but they may have lines."""
    shown = "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)
    sys.stdout.write(shown)
    sys.stdout.flush()

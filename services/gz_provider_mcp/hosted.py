"""One MCP server: started, listened to, started again when it ends, and called by as many tasks as like to."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Raw

from gleitzeit.errors import (
    ConnectionLost,
    GleitzeitError,
    PayloadTooLarge,
    ProviderBusy,
    RemoteError,
    TaskCancelled,
    TaskError,
    TaskTimeout,
    Unauthorized,
)
from gleitzeit.jsonrpc.messages import ABSENT
from gleitzeit.mcp import tasks
from gleitzeit.mcp.http import NOT_REACHED
from gleitzeit.mcp.inquiries import Inquiries
from gleitzeit.mcp.link import Link, LinkFailed, opened
from gleitzeit.mcp.servers import McpServer
from gleitzeit.mcp.session import Session
from gleitzeit.mcp.tools import CallResult, as_mcp_has_it, tool_name
from gleitzeit.process.restart import Backoff
from gleitzeit.provider import Call
from gleitzeit.transport import Connection
from gz_provider_mcp.questions import Questions

logger = logging.getLogger("gz.provider.mcp")

LOG_LINES_A_SECOND = 100
"""That a server may say to those who watch; of the rest they are told nothing."""
TOOLS_BYTES = 1 << 20
"""Of definitions: those of all servers travel in one message."""
GIVE_UP_SECONDS = 10.0
"""For a server to take note of that."""
MAX_ROUNDS = 10
"""Of questions within one call."""
REFRESH_SECONDS = 0.05
"""After a change of its lists, for further ones."""
BACKOFF = Backoff(first_seconds=0.2, max_seconds=30.0, healthy_seconds=30.0)
_FINAL = frozenset({-32600, -32601, -32602})
_PASSED_ON = (PayloadTooLarge, Unauthorized)

Status = Literal["starting", "ready", "restarting", "stopped"]


class ServerLost(TaskCancelled):
    """The server ended under a call: whether it is called again is for the rules about lost calls to say."""

    name = "MCP_SERVER_LOST"

    def __init__(self, server: str, how: str) -> None:
        lost = f"MCP server '{server}' is gone ({how})"
        super().__init__(f"{lost}; the call may have had its effect", {"lost": lost, "server": server})


class Running:
    """A request at the server, of a call that listens or of nobody's. `renew` puts off the end of its patience."""

    def __init__(self, call: Call | None, idle_seconds: float) -> None:
        self.call = call
        self.idle_seconds = idle_seconds
        self.limit = asyncio.timeout(idle_seconds or None)
        self.status_message: str | None = None

    def renew(self, extra_seconds: float = 0.0) -> None:
        if self.limit.when() is not None and not self.limit.expired():
            loop = asyncio.get_running_loop()
            self.limit.reschedule(loop.time() + self.idle_seconds + extra_seconds)

    def progressed(self, said: Mapping[str, Any]) -> None:
        self.renew()
        progress, total = said.get("progress"), said.get("total")
        if self.call is not None and isinstance(progress, int | float):
            message = said.get("message")
            self.call.progress(
                progress, total if isinstance(total, int | float) else None, message if isinstance(message, str) else ""
            )

    def told(self, state: tasks.State) -> None:
        """Of a call that it has made a task of."""
        self.renew(state.pause_seconds)
        if self.call is not None and state.status_message and state.status_message != self.status_message:
            self.call.log(state.status_message, "info")
        self.status_message = state.status_message


class Hosted:
    """`run` it in a task. With `lazy` it is started by the first who wants it.

    `on_tools(server)` is called whenever its tools have been listed.
    """

    def __init__(
        self,
        config: McpServer,
        *,
        environ: Mapping[str, str],
        questions: Questions,
        on_tools: Callable[["Hosted"], None],
        on_status: Callable[[], None] = lambda: None,
        log: Path | None = None,
        lazy: bool = False,
        backoff: Backoff = BACKOFF,
    ) -> None:
        self.config = config
        self.name = config.name
        self.status: Status = "stopped" if lazy else "starting"
        self.problem = ""
        self.restarts = 0
        self.link: Link | None = None
        self.tools: dict[str, Raw] = {}
        self.listed = False
        """Whether it has said, in this life or an earlier one, which tools it has."""
        self.running: set[Running] = set()
        self._environ = environ
        self._questions = questions
        self._on_tools = on_tools
        self._on_status = on_status
        self._log = log
        self._backoff = backoff
        self._wanted = asyncio.Event()
        if not lazy:
            self._wanted.set()
        self._settled = asyncio.Event()
        """It is ready, or the last attempt has failed: then nobody waits for the next one."""
        self._lists_changed = asyncio.Event()
        self._lines, self._second = 0, 0
        self._telling: set[asyncio.Task[None]] = set()

    # Its life

    async def run(self) -> None:
        """Until it is cancelled."""
        await self._wanted.wait()
        failures, probe = 0, True
        loop = asyncio.get_running_loop()
        while True:
            self.status = "starting" if not self.restarts else "restarting"
            began = loop.time()
            try:
                async with self._opened(probe) as link:
                    await self._serve(link)
                    how = await link.death()
                self._down(how)
            except (GleitzeitError, OSError, TimeoutError) as error:
                self._down(str(error) or type(error).__name__)
                self._settled.set()
                probe = not probe  # perhaps the question itself is what it dies of
            failures, delay = self._backoff.after(failures, loop.time() - began)
            logger.info("MCP server %s starts again in %.1f s", self.name, delay)
            await asyncio.sleep(delay)

    @asynccontextmanager
    async def _opened(self, probe: bool) -> AsyncIterator[Link]:
        async with opened(
            self.config,
            environ=self._environ,
            inquiries=Inquiries(self.config.roots, self._elicit),
            on_notification=self._notified,
            log=self._log,
            probe=probe,
        ) as link:
            yield link

    async def _serve(self, link: Link) -> None:
        """Until the connection closes. Raises LinkFailed for a server that cannot say what it has."""
        await self._list_tools(link)
        self.link, self.status, self.problem = link, "ready", ""
        self._settled.set()
        link.session.connection.add_close_callback(lambda _: self._closed())
        self._on_status()
        info = link.session.info
        logger.info("MCP server %s is ready: %s %s, %d tools", self.name, info.name, info.version, len(self.tools))
        while not link.closed.is_set():
            changed = asyncio.ensure_future(self._lists_changed.wait())
            closed = asyncio.ensure_future(link.closed.wait())
            try:
                await asyncio.wait({changed, closed}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                changed.cancel()
                closed.cancel()
            if self._lists_changed.is_set() and not link.closed.is_set():
                await asyncio.sleep(REFRESH_SECONDS)
                self._lists_changed.clear()
                try:
                    await self._list_tools(link)
                except LinkFailed as error:
                    logger.warning("MCP server %s: %s", self.name, error.message)

    async def _list_tools(self, link: Link) -> None:
        session, tools = link.session, dict[str, Raw]()
        size_bytes = 0
        if session.offers("tools"):
            try:
                async for raw in session.pages("tools/list", "tools"):
                    size_bytes += len(raw)
                    if (name := self._name_of(raw)) is not None:
                        tools[name] = raw.copy()
            except (GleitzeitError, TimeoutError, msgspec.MsgspecError) as error:
                raise LinkFailed(f"its tools cannot be listed: {error}") from None
        if size_bytes > TOOLS_BYTES:
            raise LinkFailed(f"the definitions of its {len(tools)} tools are larger than {TOOLS_BYTES >> 20} MiB")
        link.learn_tools(tools)
        self.tools, self.listed = tools, True
        self._on_tools(self)

    def _name_of(self, definition: Raw) -> str | None:
        try:
            return tool_name(definition)
        except msgspec.MsgspecError as error:
            logger.warning("MCP server %s has a tool that is none: %s", self.name, error)
            return None

    def _closed(self) -> None:
        """Who calls from now on waits for the next life, which is near."""
        self.link, self.status = None, "restarting"
        self._settled.clear()

    def _down(self, why: str) -> None:
        logger.warning("MCP server %s is gone: %s", self.name, why)
        self.link, self.status, self.problem = None, "restarting", why
        self.restarts += 1
        self._on_status()

    # What it says

    def _notified(self, connection: Connection, method: str, params: Raw | None) -> None:
        if method == "notifications/progress":
            if self.link is not None:
                self.link.session.progressed(params)
        elif method == "notifications/message":
            self._said(params)
        elif method in ("notifications/tools/list_changed", "notifications/methods/list_changed"):
            self._lists_changed.set()

    def _said(self, params: Raw | None) -> None:
        """It does not say of which call it speaks: all that run hear it."""
        second = int(asyncio.get_running_loop().time())
        self._lines, self._second = (self._lines if second == self._second else 0) + 1, second
        if params is None or not self.running or self._lines > LOG_LINES_A_SECOND:
            return
        try:
            said = msgspec.json.decode(params, type=dict[str, Any])
        except msgspec.MsgspecError:
            return
        level = said.get("level")
        for call in self._listening():
            call.log(said.get("data"), level if level in _LEVELS else "info")

    def _listening(self) -> list[Call]:
        return [running.call for running in self.running if running.call is not None]

    async def _elicit(self, params: dict[str, Any]) -> dict[str, Any]:
        question = self._questions.put(self.name, params)
        for running in self.running:
            running.renew(self._questions.answer_seconds)
        for call in self._listening():
            call.log(question.words, "notice")
        answer = await self._questions.wait(question)
        for running in self.running:
            running.renew()
        return answer

    # What it is asked

    async def session(self) -> Session:
        """Once it is ready. Raises LinkFailed if it cannot be had now."""
        self._wanted.set()
        await self._settled.wait()
        if self.link is None:
            raise LinkFailed(f"MCP server '{self.name}' cannot be had: {self.problem}")
        return self.link.session

    async def request(self, call: Call | None, method: str, params: Mapping[str, object]) -> Raw:
        """Its answer, as it came. Raises ServerLost, LinkFailed, TaskTimeout, and TaskError for what it refuses."""
        session = await self.session()
        link = self.link
        assert link is not None
        if call is not None and len(self._listening()) >= self.config.concurrency:
            why = f"MCP server '{self.name}' has {self.config.concurrency} calls under way"
            raise ProviderBusy(why, {"retryAfterSeconds": 1.0})
        running = Running(call, self.config.idle_seconds)
        self.running.add(running)
        try:
            async with running.limit:
                raw = await self._answered(session, method, dict(params), running)
                return raw if method != "tools/call" else await self._ended(session, raw, running)
        except TimeoutError:
            raise TaskTimeout(f"MCP server '{self.name}' said nothing for {self.config.idle_seconds:g} s") from None
        except ConnectionLost as error:
            if (error.data or {}).get(NOT_REACHED):
                raise LinkFailed(f"MCP server '{self.name}' cannot be had: {error.message}") from None
            how = await link.death() if link.session.connection.closed else error.message
            raise ServerLost(self.name, how) from None
        finally:
            self.running.discard(running)

    async def _answered(self, session: Session, method: str, params: dict[str, object], running: Running) -> Raw:
        """A stateless server may need more of us before it can answer: then it is asked once more, with that."""
        inquiries = Inquiries(self.config.roots, self._elicit)
        for _ in range(MAX_ROUNDS):
            raw = await self._asked(session, method, params, running)
            if session.info.era == "handshake" or b'"input_required"' not in bytes(raw):
                return raw
            answer = msgspec.json.decode(raw, type=CallResult)
            if answer.result_type != "input_required":
                return raw
            responses = {
                key: await inquiries.answer(str(one.get("method")), one.get("params"))
                for key, one in answer.input_requests.items()
            }
            params = {**params, "inputResponses": responses}
            if answer.request_state is not None:
                params["requestState"] = answer.request_state
        raise TaskError(f"MCP server '{self.name}' asked for more {MAX_ROUNDS} times", retryable=False)

    async def call(self, call: Call, tool: str, arguments: Mapping[str, object]) -> Raw:
        """Of a tool; raises as `request`."""
        params: dict[str, object] = {"name": tool, "arguments": arguments}
        if tasks.wants_task((await self.session()).info, self.tools.get(tool, ABSENT)):
            params["task"] = {}
        return await self.request(call, "tools/call", params)

    async def _ended(self, session: Session, raw: Raw, running: Running) -> Raw:
        """A server may have made a task of it, which is asked after then."""
        with as_mcp_has_it("tools/call"):
            state = tasks.begun(session.info, raw)
        if state is None:
            return raw

        async def ask(method: str, params: dict[str, Any]) -> Raw:
            return await self._asked(session, method, params, running)

        inquiries = Inquiries(self.config.roots, self._elicit)
        try:
            with as_mcp_has_it("tasks/get"):
                return await tasks.ended(session.info, state, ask, inquiries, running.told)
        except RemoteError as error:
            raise self._refused(error) from None
        except BaseException:  # nobody waits for it any more
            self._give_up(session, state.task_id)
            raise

    def _give_up(self, session: Session, task_id: str) -> None:
        async def tell() -> None:
            with suppress(GleitzeitError, TimeoutError):
                await session.request("tasks/cancel", {"taskId": task_id}, timeout_seconds=GIVE_UP_SECONDS)

        telling = asyncio.get_running_loop().create_task(tell())
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    async def _asked(self, session: Session, method: str, params: dict[str, object], running: Running) -> Raw:
        try:
            return await session.request(method, params, on_progress=running.progressed if running.call else None)
        except (ConnectionLost, *_PASSED_ON):
            raise
        except GleitzeitError as error:
            raise self._refused(error) from None

    def _refused(self, error: GleitzeitError) -> TaskError:
        """Its codes are its own: none of them may mean to us what it means in this house."""
        about = {"server": self.name, "mcp_code": error.code, "mcp_data": error.data}
        return TaskError(error.message, about, retryable=error.code not in _FINAL)


_LEVELS = frozenset({"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"})

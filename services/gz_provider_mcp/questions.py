"""What servers ask people (elicitation): kept open until somebody answers, by `gz mcp answer` or the method
`mcp/elicitation/answer`, and declined if nobody does.
"""

import asyncio
import itertools
from typing import Any

from msgspec import Struct

from gleitzeit.errors import TaskError
from gleitzeit.schemas.catalogue import compile_schema

ANSWER_SECONDS = 120.0


class Question(Struct, frozen=True):
    """`schema` is a JSON Schema of the content that an answer is to have."""

    id: str
    server: str
    message: str
    schema: dict[str, Any]
    url: str = ""

    @property
    def words(self) -> str:
        """For those who watch: what is asked, and how to answer."""
        fields = self.schema.get("properties")
        params = "".join(f" -p {name}=…" for name in fields) if isinstance(fields, dict) else ""
        where = f" (see {self.url})" if self.url else ""
        return f"{self.message}{where}\nanswer with: gz mcp answer {self.id}{params}"


class Questions:
    def __init__(self, answer_seconds: float = ANSWER_SECONDS) -> None:
        self.answer_seconds = answer_seconds
        self._numbers = itertools.count(1)
        self._open: dict[str, tuple[Question, asyncio.Future[dict[str, Any]]]] = {}

    @property
    def open(self) -> list[Question]:
        return [question for question, _ in self._open.values()]

    def put(self, server: str, params: dict[str, Any]) -> Question:
        """From the params of `elicitation/create`. `wait` for the answer next."""
        schema = params.get("requestedSchema")
        question = Question(
            id=f"{server}-{next(self._numbers)}",
            server=server,
            message=str(params.get("message") or ""),
            schema=schema if isinstance(schema, dict) else {},
            url=str(params.get("url") or ""),
        )
        self._open[question.id] = question, asyncio.get_running_loop().create_future()
        return question

    async def wait(self, question: Question) -> dict[str, Any]:
        """The result of `elicitation/create`."""
        _, answer = self._open[question.id]
        try:
            async with asyncio.timeout(self.answer_seconds):
                return await answer
        except TimeoutError:
            return {"action": "decline"}
        finally:
            del self._open[question.id]

    def answer(self, question_id: str, action: str, content: dict[str, Any] | None) -> Question:
        """Raises TaskError for a question that is not open, and for content that does not fit."""
        found = self._open.get(question_id)
        if found is None:
            known = ", ".join(self._open) or "none is open"
            raise TaskError(f"no question {question_id!r} is open ({known})", retryable=False)
        question, answer = found
        result: dict[str, Any] = {"action": action}
        if action == "accept":
            result["content"] = self._fitting(question, content or {})
        if not answer.done():
            answer.set_result(result)
        return question

    def _fitting(self, question: Question, content: dict[str, Any]) -> dict[str, Any]:
        try:
            validator = compile_schema(question.schema)
        except ValueError:
            return content  # the server has to judge by itself
        problems = [error.message for error in validator.iter_errors(content)]
        if problems:
            raise TaskError(f"that is no answer to {question.id}: {'; '.join(problems)}", retryable=False)
        return content

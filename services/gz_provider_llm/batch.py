"""`batch_mode`: one question about many files, each answered for itself.

For who calls a provider directly, and for lists of files that only the result of a task tells. What is known when a
document is submitted are items of its task by then, and their contents travel with them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from gleitzeit.errors import GleitzeitError
from gz_provider_llm.errors import BadRequest
from gz_provider_llm.shapes.files import Files

_OF_THE_BATCH = frozenset({"batch_mode", "files", "image_paths", "directory", "file_pattern"})


def items_of(params: Mapping[str, Any], files: Files) -> dict[str, dict[str, Any]]:
    """Path -> the params of its own question. Raises BadRequest if there is no file."""
    common = {name: value for name, value in params.items() if name not in _OF_THE_BATCH}
    listed = list(params.get("files", ()))
    if "directory" in params:
        listed += files.matching(params["directory"], params.get("file_pattern", "*"))
    items = {file if isinstance(file, str) else file["path"]: {**common, "files": [file]} for file in listed}
    for image in params.get("image_paths", ()):
        items[image if isinstance(image, str) else image["path"]] = {**common, "image_paths": [image]}
    if not items:
        raise BadRequest("batch_mode: there are no files")
    return items


async def run_batch(
    items: Mapping[str, dict[str, Any]],
    ask: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]],
    at_once: int,
    progress: Callable[[float, float | None, str], None],
) -> dict[str, Any]:
    """The result on the wire. If no file goes well, the error of the first is raised."""
    places = asyncio.Semaphore(at_once)
    done = 0

    async def one(path: str, params: dict[str, Any]) -> dict[str, Any] | GleitzeitError:
        nonlocal done
        async with places:
            try:
                return await ask(params)
            except GleitzeitError as error:
                return error
            finally:
                done += 1
                progress(done, len(items), path)

    async with asyncio.TaskGroup() as group:
        tasks = {path: group.create_task(one(path, params)) for path, params in items.items()}
    answers = {path: task.result() for path, task in tasks.items()}
    failed = [answer for answer in answers.values() if isinstance(answer, GleitzeitError)]
    if len(failed) == len(answers):
        raise failed[0]
    return _wire(answers, len(failed))


def _wire(answers: Mapping[str, dict[str, Any] | GleitzeitError], failed: int) -> dict[str, Any]:
    return {
        "result": {path: _entry(answer) for path, answer in answers.items()},
        "summary": {"total": len(answers), "successful": len(answers) - failed, "failed": failed},
    }


def _entry(answer: dict[str, Any] | GleitzeitError) -> dict[str, Any]:
    if isinstance(answer, GleitzeitError):
        return {"status": "failed", "error": answer.message}
    entry = {"status": "success", "content": answer["content"]}
    return entry | {"json": answer["json"]} if "json" in answer else entry

"""Tasks that are done once for each file: how a template becomes one, and how a method is given the file."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gleitzeit.spec.references.references import escape

TASK: Final = "process"
KEPT_SECONDS: Final = 30 * 24 * 3600
"""How long a second run of a batch finds what the first has done."""
IMAGE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".pdf")
"""Of images, and of what travels to a model as they do."""
OF_THE_BATCH: Final = frozenset({"batch_mode", "files", "image_paths", "directory", "file_pattern"})
_OF_THE_TASK: Final = frozenset(
    {
        *("method", "protocol", "type", "provider", "fallback", "when", "timeout", "queue_timeout", "priority"),
        *("retry", "retry_config", "max_retries", "on_lost", "cache", "budget", "tags", "metadata", "description"),
    }
)
_FILE_PATH = re.compile(r"(\$\{|\{\{)(\s*)file_path\b")
_FILE_PART = re.compile(r"(\$\{|\{\{)(\s*)file\.(content|name|path|size_bytes)\b")
_IS_THE_PATH = re.compile(r"\$\{\s*item\.path\s*\}|\{\{\s*item\.path\s*\}\}")
_READS_ITEM = re.compile(r"(?:\$\{|\{\{)[^{}]*\bitem\b")
_TEXT: Final = {"path": "${item.path}", "content": "${item.content}", "encoding": "${item.encoding}"}
_IMAGE: Final = {"path": "${item.path}", "content": "${item.content}"}

Task = dict[str, Any]


def split_pattern(pattern: str) -> tuple[str, str]:
    """The folder that a glob begins in, and the rest: `docs/**/*.txt` -> `docs`, `**/*.txt`."""
    parts = pattern.split("/")
    plain = next((n for n, part in enumerate(parts) if re.search(r"[*?\[]", part)), len(parts) - 1)
    return "/".join(parts[:plain]) or ("/" if pattern.startswith("/") else "."), "/".join(parts[plain:])


def over(task: Task, items: list[dict[str, Any]], batch: Mapping[str, Any]) -> Task:
    """The task with an item for each file; its result is a map by their paths."""
    each: dict[str, Any] = {"items": items, "by": "path", "on_item_error": batch.get("on_item_error", "collect")}
    each["max_items"] = max(len(items), 1)
    if batch.get("max_parallel") is not None:
        each["max_parallel"] = batch["max_parallel"]
    return {**task, "for_each": each}


def from_template(template: Mapping[str, Any], protocol: str) -> Task:
    """What stands at the top of a template is the task's if a task has that key, else a param."""
    task = {key: value for key, value in template.items() if key in _OF_THE_TASK}
    params = {key: value for key, value in template.items()
              if key not in _OF_THE_TASK and key not in ("params", "parameters", "id", "name")}  # fmt: skip
    for key in ("parameters", "params"):
        params |= template[key] if isinstance(template.get(key), dict) else {}
    if protocol and "protocol" not in task and "/" not in str(task.get("method", "")):
        task["protocol"] = protocol
    return {"id": TASK, **task, "params": given_file(task, params)}


def kept(task: Task, batch_id: str) -> Task:
    """With what its files come to kept under the id of the batch, as long as the task and the file are the same; unless
    the author says himself what is kept."""
    if task.get("cache") is not None:
        return task
    asked = hashlib.sha256(msgspec.json.encode(task, order="deterministic")).hexdigest()[:16]
    content = "${item.sha256}" if reads_content(task) else "${item.size_bytes} ${item.modified}"
    key = f"batch {escape(batch_id)} {asked} {content} ${{item.path}}"
    return {**task, "cache": {"ttl": KEPT_SECONDS, "key": key}}


def family(task: Mapping[str, Any]) -> str:
    """`llm`, `python`, …"""
    method = str(task.get("method", ""))
    said = method if "/" in method else str(task.get("protocol") or task.get("type") or "python")
    found = said.partition("/")[0]
    return "llm" if found == "ollama" or task.get("provider") == "ollama" else found


def given_file(task: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """The params with the file of an item, in the way of the method where the author has not said another."""
    kind, own = family(task), {key: _renamed(value) for key, value in params.items()}
    if kind == "llm":
        own = with_contents(own)
    if _READS_ITEM.search(msgspec.json.encode(own).decode()):
        return own
    method = str(task.get("method", ""))
    match kind:
        case "llm" if method.endswith(("embed", "embeddings")):
            return {"input": "${item.content}", **own}
        case "llm" if method.endswith("vision"):
            return {**own, "image_paths": [_IMAGE]}
        case "llm":
            return {**own, "files": [_TEXT]}
        case "python":
            file = {"file_path": "${item.path}", "file_name": "${item.name}", "content": "${item.content}"}
            context = own.get("context")
            return {**own, "context": {**(context if isinstance(context, dict) else {}), **file}}
    return {**own, "file_path": "${item.path}"}


def with_contents(params: dict[str, Any]) -> dict[str, Any]:
    """Where a model's params name the file of the item, its content goes along: the provider may be elsewhere."""
    changed = dict(params)
    for key, one in (("file_path", _TEXT), ("image_path", _IMAGE)):
        if isinstance(params.get(key), str) and _IS_THE_PATH.fullmatch(params[key].strip()):
            del changed[key]
            listed = "files" if key == "file_path" else "image_paths"
            changed[listed] = [one, *changed.get(listed, ())]
    for key, one in (("files", _TEXT), ("image_paths", _IMAGE)):
        if isinstance(changed.get(key), list):
            changed[key] = [one if isinstance(path, str) and _IS_THE_PATH.fullmatch(path.strip()) else path
                            for path in changed[key]]  # fmt: skip
    return changed


def reads_content(task: Mapping[str, Any]) -> bool:
    encoded = msgspec.json.encode(task)
    return any(part in encoded for part in (b"item.content", b"item.sha256", b"item.encoding"))


def _renamed(value: Any) -> Any:
    """With the names that references to the file had in earlier versions."""
    if isinstance(value, str):
        return _FILE_PART.sub(r"\1\2item.\3", _FILE_PATH.sub(r"\1\2item.path", value))
    if isinstance(value, Mapping):
        return {key: _renamed(inner) for key, inner in value.items()}
    return [_renamed(inner) for inner in value] if isinstance(value, list) else value

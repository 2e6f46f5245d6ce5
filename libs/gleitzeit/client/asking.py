"""From the arguments of a Python call to the params of a task, and back from its result to a value."""

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gleitzeit.errors import ConfigurationError
from gleitzeit.spec.references.references import escape

TASK = "answer"
TEXT_KEYS = ("response", "content", "text", "result", "output")


def task_document(
    method: str, params: Mapping[str, object], *, source: str | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A workflow of one task, and its inputs: no word of `params` is read for references. `source` is code."""
    named: dict[str, Any] = {name: f"${{inputs.{name}}}" for name in params}
    if source is not None:
        named["code"] = escape(source)
    return {"name": method, "tasks": [{"id": TASK, "method": method, "params": named}]}, dict(params)


def given(**params: object) -> dict[str, object]:
    """Those that are not None."""
    return {name: value for name, value in params.items() if value is not None}


def chat_params(
    prompt: str | Sequence[Mapping[str, object]],
    model: str | None,
    system: str | None,
    temperature: float | None,
    max_tokens: int | None,
    session_id: str | None,
    more: Mapping[str, object],
) -> dict[str, object]:
    asked = {"prompt": prompt} if isinstance(prompt, str) else {"messages": list(prompt)}
    named = given(model=model, system=system, temperature=temperature, max_tokens=max_tokens, session_id=session_id)
    return {**asked, **named, **more}


def vision_params(
    image: str | os.PathLike[str] | bytes, prompt: str, model: str | None, more: Mapping[str, object]
) -> dict[str, object]:
    """Raises OSError for a file that cannot be read."""
    content = image if isinstance(image, bytes) else Path(image).expanduser().read_bytes()
    return {"prompt": prompt, "images": [base64.b64encode(content).decode()], **given(model=model), **more}


def python_params(
    code: str | None,
    file: str | os.PathLike[str] | None,
    context: Mapping[str, object] | None,
    args: Sequence[object] | Mapping[str, object] | None,
    timeout_seconds: float | None,
    more: Mapping[str, object],
) -> tuple[dict[str, object], str | None]:
    """The params, and the code, which is None where a `function` is called. Raises OSError."""
    if (code is not None) + (file is not None) + ("function" in more) != 1:
        raise ConfigurationError("execute_python wants one of code, file and function")
    source = code if file is None else Path(file).expanduser().read_text(encoding="utf-8")
    plain = dict(args) if isinstance(args, Mapping) else list(args) if args is not None else None
    named = given(context=None if context is None else dict(context), args=plain, timeout=timeout_seconds)
    return {**named, **more}, source


def text_of(result: object) -> str:
    """The text of a model's answer."""
    if isinstance(result, Mapping):
        return str(next((result[key] for key in TEXT_KEYS if isinstance(result.get(key), str)), ""))
    return str(result)

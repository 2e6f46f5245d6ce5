"""Functions by name: those that were registered, those in the functions folder, and those that Python can import.

A folder holds ordinary modules (`tools.py` with `def clean(…)` is `tools.clean`), and in `.registered/` one JSON file
for each function that `python/register` took. A registered name comes first, then the folder, then what Python can
import, then builtins.

Reading and writing records is for the provider; `find`, which runs strangers' code, is for the process of one job.
"""

import ast
import base64
import difflib
import importlib
import os
import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_REGISTERED = ".registered"


class FunctionError(Exception):
    """There is no such function, or it cannot be registered so. The message is for the author."""


class Record(Struct, frozen=True, omit_defaults=True, rename={"expression": "lambda"}):
    """A registered function: the source of a lambda, a place in a module, or a pickle in base64."""

    name: str
    type: Literal["lambda", "module", "serialized"]
    expression: str = ""
    module: str = ""
    function: str = ""


def check_record(record: Record) -> None:
    """Raises FunctionError for what can never be found or called."""
    if not _NAME.fullmatch(record.name):
        raise FunctionError(f"not a name for a function: {record.name!r}; write it as in Python, dots allowed")
    if record.type == "lambda":
        _lambda(record)
    elif record.type == "module" and not (record.module and record.function):
        raise FunctionError("a function of type module needs `module` and `function`")
    elif record.type == "serialized":
        try:
            base64.b64decode(record.function, validate=True)
        except ValueError as error:
            raise FunctionError(f"a serialized function is a pickle in base64: {error}") from None


def save(folder: Path, record: Record) -> None:
    """Durable enough to survive a restart of the provider; a record of the same name is replaced."""
    place = folder / _REGISTERED
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = place / f"{record.name}.json"
    unfinished = place / f".{record.name}.{os.getpid()}"
    unfinished.write_bytes(msgspec.json.encode(record))
    unfinished.replace(target)


def load(folder: Path, name: str) -> Record | None:
    """The record of that name. One that is damaged raises FunctionError."""
    try:
        return msgspec.json.decode((folder / _REGISTERED / f"{name}.json").read_bytes(), type=Record)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise FunctionError(f"the record of the registered function {name} is damaged: {error}") from None


def known(folder: Path) -> list[dict[str, str]]:
    """All functions of the folder, by name: `{name, type, signature?, description?}`. No code is run to find out."""
    found = [_of_record(load(folder, path.stem)) for path in sorted((folder / _REGISTERED).glob("*.json"))]
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        if not any(part.startswith((".", "_")) for part in parts[:-1]):
            found += _of_module(path, ".".join(part for part in parts if part != "__init__"))
    return sorted((entry for entry in found if entry), key=lambda entry: entry["name"])


def find(folder: Path, name: str) -> Callable[..., Any]:
    """The function itself. Imports modules, and so runs their code. Raises FunctionError, or what an import raises."""
    if not _NAME.fullmatch(name):
        raise FunctionError(f"there is no function {name}: that is not a name")
    record = load(folder, name)
    if record is not None:
        return _callable(_from_record(folder, record), name)
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        module = _module(folder, ".".join(parts[:length]))
        if module is not None:
            return _callable(_member(module, parts[length:], name), name)
    builtins = importlib.import_module("builtins")
    if len(parts) > 1 and not hasattr(builtins, parts[0]):
        raise FunctionError(_no_module(folder, name, parts[0]))
    return _callable(_member(builtins, parts, name, folder), name)


def _no_module(folder: Path, name: str, module: str) -> str:
    names = [entry["name"] for entry in known(folder)]
    near = difflib.get_close_matches(name, names, 1)
    if not near:
        modules = {one.partition(".")[0] for one in names if "." in one} | sys.stdlib_module_names
        near = difflib.get_close_matches(module, modules, 1, 0.75)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"there is no function {name}: there is no module {module}{hint}"


def _from_record(folder: Path, record: Record) -> object:
    if record.type == "lambda":
        return eval(compile(ast.Expression(_lambda(record)), f"<function {record.name}>", "eval"), {})
    if record.type == "serialized":
        return pickle.loads(base64.b64decode(record.function))
    module = _module(folder, record.module)
    if module is None:
        place = f"{record.module}.{record.function}"
        raise FunctionError(f"{record.name} is registered as {place}, and there is no module {record.module}")
    return _member(module, record.function.split("."), record.name)


def _module(folder: Path, name: str) -> object | None:
    """A module of the folder before any other, also one that has the name of a module loaded before."""
    path = folder.joinpath(*name.split("."))
    if path.with_suffix(".py").is_file() or (path / "__init__.py").is_file():
        top = name.partition(".")[0]
        for loaded in [key for key in sys.modules if key == top or key.startswith(top + ".")]:
            del sys.modules[loaded]
        if sys.path[:1] != [str(folder)]:
            sys.path.insert(0, str(folder))
        importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            return None
        raise  # it is there, and something that it imports is not


def _member(owner: object, path: list[str], name: str, folder: Path | None = None) -> object:
    for at, part in enumerate(path):
        try:
            owner = getattr(owner, part)
        except AttributeError:
            names = [entry["name"] for entry in known(folder)] if folder is not None else []
            near = difflib.get_close_matches(name, names, 1)
            if not near and (like := difflib.get_close_matches(part, dir(owner), 1)):
                whole = ".".join(path)
                front = name.removesuffix(whole) if name.endswith(whole) else ""
                near = [front + ".".join((*path[:at], like[0], *path[at + 1 :]))]
            hint = f"; did you mean {near[0]}?" if near else ""
            raise FunctionError(f"there is no function {name}{hint}") from None
    return owner


def _callable(found: object, name: str) -> Callable[..., Any]:
    if not callable(found):
        raise FunctionError(f"{name} is a {type(found).__name__}, not a function")
    return found


def _lambda(record: Record) -> ast.Lambda:
    try:
        tree = ast.parse(record.expression.strip(), f"<function {record.name}>", "eval")
    except SyntaxError as error:
        raise FunctionError(f"`lambda` is not Python: {error.msg}") from None
    if not isinstance(tree.body, ast.Lambda):
        raise FunctionError("`lambda` must be one lambda expression, such as: lambda x: x * 2")
    return tree.body


def _of_record(record: Record | None) -> dict[str, str]:
    if record is None:
        return {}
    entry = {"name": record.name, "type": record.type}
    if record.type == "lambda":
        entry["signature"] = f"({ast.unparse(_lambda(record).args)})"
    elif record.type == "module":
        entry["description"] = f"{record.module}.{record.function}"
    return entry


def _of_module(path: Path, module: str) -> list[dict[str, str]]:
    try:
        body = ast.parse(path.read_bytes()).body
    except (SyntaxError, ValueError, OSError):
        return []  # `python/execute` will say what is wrong with it
    functions = [
        node
        for node in body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_")
    ]
    return [_described(f"{module}.{node.name}", node) for node in functions]


def _described(name: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, str]:
    entry = {"name": name, "type": "file", "signature": f"({ast.unparse(node.args)})"}
    if documentation := ast.get_docstring(node):
        entry["description"] = documentation.partition("\n")[0]
    return entry

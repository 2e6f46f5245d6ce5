"""What a machine can hold: who imports whom, what the pure packages do without, how things are called.

The rules are functions over a tree of sources, and each is shown a small tree that breaks it.
"""

import ast
import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

LAYERS = (
    ("errors",),
    ("model",),
    ("schemas",),
    ("spec",),
    ("engine", "jsonrpc", "config"),
    ("transport", "discovery", "journal", "process"),
    ("provider", "client", "mcp", "testing"),
    ("stack",),
)
"""Of `libs/gleitzeit`: a package imports from lines above its own only, and never from one beside it."""
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

PURE = ("model", "spec", "engine", "jsonrpc")
IMPURE = frozenset({"asyncio", "time", "random", "uuid", "socket", "httpx", "nats", "websockets", "secrets"})
WRAPPED = ("jsonrpcserver", "jsonrpcclient")
FORBIDDEN_NAMES = ("Manager", "Handler", "Helper", "Util", "Utils")
# Written in pieces, or this file would break its own rule.
MACHINE = re.compile("|".join(("/" + r"work/(?:main|shared)", "/" + "tmp/gz/", r"\." + "library/", "farm" + "-studio")))
TEXT_FILES = (".py", ".md", ".toml", ".yaml", ".yml", ".json", ".js", ".sh")

Rule = Callable[[Path], Iterator[str]]


class Source:
    """One Python file. `part` is its package inside gleitzeit, or the name of its service."""

    def __init__(self, root: Path, path: Path) -> None:
        self.path = path
        self.name = str(path.relative_to(root))
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        pieces = path.relative_to(root).parts
        self.service = pieces[1] if pieces[0] == "services" else ""
        self.part = Path(pieces[2]).stem if pieces[:2] == ("libs", "gleitzeit") else ""
        self.imports = tuple(self._imports())

    def _imports(self) -> Iterator[tuple[int, int, str]]:
        """(line, dots, module); `from a import b` is `a.b`, for b may be a module. Also those inside functions."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, 0, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                prefix = f"{node.module}." if node.module else ""
                yield from ((node.lineno, node.level, f"{prefix}{alias.name}") for alias in node.names)


@functools.cache  # every rule looks at the same tree, and reading it is most of the work
def sources(root: Path) -> tuple[Source, ...]:
    folders = (root / folder for folder in ("libs/gleitzeit", "services"))
    return tuple(Source(root, path) for folder in folders for path in sorted(folder.rglob("*.py")))


def imports_point_upward(root: Path) -> Iterator[str]:
    for source in sources(root):
        if source.part == "__init__":
            continue
        if source.part and source.part not in LEVEL:
            yield f"{source.name}: the package {source.part} is in no layer"
            continue
        for line, _, module in source.imports:
            top, _, rest = module.partition(".")
            imported = rest.partition(".")[0]
            if source.part and top.startswith("gz_"):
                yield f"{source.name}:{line}: the library imports the service {top}"
            elif imported.startswith("__"):
                continue  # what the package says of itself stands above all
            elif source.part and top == "gleitzeit" and imported and imported != source.part:
                if LEVEL.get(imported, len(LAYERS)) >= LEVEL[source.part]:
                    yield f"{source.name}:{line}: {source.part} imports {imported}, which is not above it"
            elif source.service and top.startswith("gz_") and top != source.service:
                yield f"{source.name}:{line}: the service {source.service} imports the service {top}"


def pure_packages_have_no_clock_and_no_network(root: Path) -> Iterator[str]:
    for source in sources(root):
        if source.part in PURE:
            for line, _, module in source.imports:
                if module.partition(".")[0] in IMPURE:
                    yield f"{source.name}:{line}: {source.part} is pure and imports {module}"


def imports_are_absolute(root: Path) -> Iterator[str]:
    for source in sources(root):
        for line, dots, module in source.imports:
            if dots:
                yield f"{source.name}:{line}: a relative import of {module}"


def classes_have_names_that_say_something(root: Path) -> Iterator[str]:
    for source in sources(root):
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ClassDef) and node.name.endswith(FORBIDDEN_NAMES):
                yield f"{source.name}:{node.lineno}: class {node.name}"


def json_rpc_libraries_are_wrapped_once(root: Path) -> Iterator[str]:
    for library in WRAPPED:
        users = {s.name for s in sources(root) for _, _, module in s.imports if module.partition(".")[0] == library}
        inside = {name for name in users if name.startswith("libs/gleitzeit/jsonrpc/")}
        if users != inside or len(users) != 1:
            yield f"{library} is imported by {sorted(users) or 'nobody'}: it belongs in one module of jsonrpc"


def no_file_names_the_machine(root: Path) -> Iterator[str]:
    for path in sorted(root.rglob("*")):
        hidden = any(piece.startswith(".") and piece != ".ci" for piece in path.relative_to(root).parts)
        if hidden or path.suffix not in TEXT_FILES or "node_modules" in path.parts or not path.is_file():
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if MACHINE.search(line):
                yield f"{path.relative_to(root)}:{number}: {line.strip()}"


RULES: tuple[Rule, ...] = (
    imports_point_upward,
    pure_packages_have_no_clock_and_no_network,
    imports_are_absolute,
    classes_have_names_that_say_something,
    json_rpc_libraries_are_wrapped_once,
    no_file_names_the_machine,
)

TIDY = {
    "libs/gleitzeit/__init__.py": "",
    "libs/gleitzeit/errors.py": "class GleitzeitError(Exception): ...",
    "libs/gleitzeit/engine/engine.py": "from gleitzeit import errors\nfrom gleitzeit.engine.state.states import TASK",
    "libs/gleitzeit/engine/states.py": "TASK = {}",
    "libs/gleitzeit/jsonrpc/methods.py": "import jsonrpcserver",
    "libs/gleitzeit/jsonrpc/peer.py": "from jsonrpcclient import responses",
    "services/gz_cli/main.py": "import asyncio\nfrom gleitzeit.client import connect\nfrom gz_cli import app",
}

BROKEN: tuple[tuple[Rule, str, str], ...] = (
    (imports_point_upward, "libs/gleitzeit/engine/queue.py", "from gleitzeit.journal.base import Journal"),
    (imports_point_upward, "libs/gleitzeit/engine/queue.py", "from gleitzeit.jsonrpc import codec"),
    (imports_point_upward, "libs/gleitzeit/errors.py", "import gleitzeit.model"),
    (imports_point_upward, "libs/gleitzeit/model/late.py", "def f():\n    from gleitzeit import client"),
    (imports_point_upward, "libs/gleitzeit/stack.py", "import gz_coordinator.main"),
    (imports_point_upward, "libs/gleitzeit/helpers/x.py", ""),
    (imports_point_upward, "libs/gleitzeit/model/x.py", "from gleitzeit.unheard import of"),
    (imports_point_upward, "services/gz_cli/x.py", "from gz_coordinator.service import Service"),
    (pure_packages_have_no_clock_and_no_network, "libs/gleitzeit/spec/x.py", "import time"),
    (pure_packages_have_no_clock_and_no_network, "libs/gleitzeit/jsonrpc/x.py", "from asyncio import Future"),
    (imports_are_absolute, "services/gz_cli/x.py", "from . import app"),
    (imports_are_absolute, "libs/gleitzeit/model/x.py", "from .events import Event"),
    (classes_have_names_that_say_something, "services/gz_cli/x.py", "class TaskManager: ..."),
    (json_rpc_libraries_are_wrapped_once, "libs/gleitzeit/jsonrpc/x.py", "import jsonrpcserver.codes"),
    (json_rpc_libraries_are_wrapped_once, "libs/gleitzeit/jsonrpc/peer.py", ""),
    (json_rpc_libraries_are_wrapped_once, "services/gz_cli/x.py", "from jsonrpcclient import request"),
    (no_file_names_the_machine, "README.md", "see /" + "work/main for more"),
)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize("rule", RULES)
def test_the_house_is_tidy(rule: Rule) -> None:
    assert list(rule(ROOT)) == []


@pytest.mark.parametrize("rule", RULES)
def test_a_tidy_tree_passes(rule: Rule, tmp_path: Path) -> None:
    assert list(rule(write(tmp_path, TIDY))) == []


@pytest.mark.parametrize(("rule", "name", "text"), BROKEN)
def test_each_rule_notices_what_it_is_for(rule: Rule, name: str, text: str, tmp_path: Path) -> None:
    assert list(rule(write(tmp_path, {**TIDY, name: text})))


def test_there_is_something_to_look_at() -> None:
    assert len(sources(ROOT)) > 50

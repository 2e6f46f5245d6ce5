"""From the source a user wrote to code that can run, for who runs it and for who checks it before. Nothing is executed
here.

A script runs at module level, so that `'context' in locals()` and `global` mean what they say. `return` at the top
level is allowed all the same: each becomes the raising of `TopLevelReturn`, which no handler of the script catches by
mistake.
"""

import ast
import inspect
from types import CodeType
from typing import Any

RETURN = "<return>"
"""Under this name, which no source can spell, a script finds the exception of its top-level returns."""


class TopLevelReturn(BaseException):
    """Raised where a script says `return` outside of a function. `value` is what it returns."""

    def __init__(self, value: object = None) -> None:
        self.value = value


def compile_script(module: ast.AST, filename: str) -> CodeType:
    """Module code; needs RETURN among its globals. Raises SyntaxError.

    Where the module itself awaits something it is a coroutine function's (`is_coroutine`), as in a notebook.
    """
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    compiled: CodeType = compile(_ReturnAsRaise().visit(module), filename, "exec", flags, dont_inherit=True)
    return compiled


def is_coroutine(compiled: CodeType) -> bool:
    """Whether evaluating it gives a coroutine that has yet to be run."""
    return bool(compiled.co_flags & inspect.CO_COROUTINE)


def compile_imports(names: list[str], filename: str) -> CodeType:
    """What `imports` asks for: each is `module`, `module as name` or a whole import statement. Raises SyntaxError."""
    body: list[ast.stmt] = []
    for name in names:
        source = name if name.lstrip().startswith(("import ", "from ")) else f"import {name}"
        for statement in ast.parse(source, filename).body:
            if not isinstance(statement, ast.Import | ast.ImportFrom):
                raise SyntaxError(f"not the name of a module: {name!r}")
            body.append(statement)
    return compile(ast.Module(body, []), filename, "exec", dont_inherit=True)


class _ReturnAsRaise(ast.NodeTransformer):
    """Only statements of the module itself are visited: bodies of functions and classes keep theirs."""

    def __init__(self) -> None:
        self._replaced = 0

    def visit_Return(self, node: ast.Return) -> ast.stmt:
        self._replaced += 1
        raised: ast.stmt = _located(_raise(node.value), node)
        return raised

    def visit_Try(self, node: ast.Try) -> ast.stmt:
        before = self._replaced
        node.body = [self.visit(statement) for statement in node.body]
        if self._replaced > before and node.handlers:
            # a bare `except:` around a return means the script's errors, not its end
            passed_on = ast.ExceptHandler(ast.Name(RETURN, ast.Load()), None, [ast.Raise()])
            node.handlers.insert(0, _located(passed_on, node))
        for name in ("handlers", "orelse", "finalbody"):
            setattr(node, name, [self.visit(child) for child in getattr(node, name)])
        return node

    def _keep(self, node: ast.AST) -> ast.AST:
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _keep


def _raise(value: ast.expr | None) -> ast.Raise:
    return ast.Raise(ast.Call(ast.Name(RETURN, ast.Load()), [value] if value is not None else [], []), None)


def _located(node: Any, place: ast.AST) -> Any:
    return ast.fix_missing_locations(ast.copy_location(node, place))

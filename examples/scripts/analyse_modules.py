"""Read some modules with `ast` and count what can be seen without running them.

context: root, files (paths below root). result: modules (one record a file), longest (functions), imports, strings,
skipped (what this Python cannot parse).
"""

import ast
from collections import Counter
from pathlib import Path

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def string_style(node):
    """How a piece of text is put together here: the three generations of Python."""
    if isinstance(node, ast.JoinedStr):
        return "f-string"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod) and isinstance(node.left, ast.Constant):
        return "%" if isinstance(node.left.value, str) else None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        return ".format()" if isinstance(node.func.value, ast.Constant) else None
    return None


def imported(node):
    """The top-level modules that an import statement names; relative imports stay at home."""
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return {node.module.split(".")[0]}
    return set()


def is_annotated(function):
    arguments = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
    return function.returns is not None or any(argument.annotation for argument in arguments)


def analyse(path, source):
    """(record of the module, its functions as (lines, name, line), modules it imports, Counter of string styles)"""
    functions, imports, strings = [], set(), Counter()
    record = {
        "path": path,
        "lines": source.count("\n") + 1,
        "classes": 0,
        "functions": 0,
        "documented": 0,
        "annotated": 0,
    }
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, FUNCTIONS):
            record["functions"] += 1
            record["documented"] += ast.get_docstring(node, clean=False) is not None
            record["annotated"] += is_annotated(node)
            functions.append((node.end_lineno - node.lineno + 1, node.name, node.lineno))
        elif isinstance(node, ast.ClassDef):
            record["classes"] += 1
        elif style := string_style(node):
            strings[style] += 1
        imports |= imported(node)
    return record, functions, imports, strings


modules, longest, imports, strings, skipped = [], [], Counter(), Counter(), []
for path in context["files"]:
    try:
        source = Path(context["root"], path).read_text(encoding="utf-8")
        record, functions, its_imports, its_strings = analyse(path, source)
    except (SyntaxError, UnicodeDecodeError) as error:
        skipped.append(f"{path}: {error}")
        continue
    modules.append(record)
    longest += [{"lines": lines, "name": name, "where": f"{path}:{line}"} for lines, name, line in functions]
    imports.update(its_imports)
    strings.update(its_strings)

longest.sort(key=lambda function: -function["lines"])
print(f"{len(modules)} modules, {sum(module['lines'] for module in modules):,} lines")
result = {"modules": modules, "longest": longest[:10], "imports": imports, "strings": strings, "skipped": skipped}

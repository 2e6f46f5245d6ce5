"""Join the slices: totals, packages, and the tops of every list.

context: parts (results of analyse_modules.py). result: totals, packages, longest, imports, strings, largest, skipped.
"""

from collections import Counter, defaultdict

COUNTED = ("lines", "classes", "functions", "documented", "annotated")

parts = context["parts"]
modules = [module for part in parts for module in part["modules"]]


def total(of):
    return {"modules": len(of), **{key: sum(module[key] for module in of) for key in COUNTED}}


def top(counters, number=None):
    added = Counter()
    for counter in counters:
        added.update(counter)
    return added.most_common(number)


packages = defaultdict(list)
for module in modules:
    if "/" in module["path"]:
        packages[module["path"].split("/")[0]].append(module)

result = {
    "totals": total(modules),
    "packages": {name: total(of) for name, of in packages.items()},
    "largest": sorted(modules, key=lambda module: -module["lines"])[:5],
    "longest": sorted((function for part in parts for function in part["longest"]), key=lambda f: -f["lines"])[:10],
    "imports": top((part["imports"] for part in parts), 12),
    "strings": top(part["strings"] for part in parts),
    "skipped": [line for part in parts for line in part["skipped"]],
}

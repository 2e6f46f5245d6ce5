"""List the modules of Python's own standard library, dealt into slices of about equal size.

context: slices, the number of slices. result: root, python, files, and slices (lists of paths below root).
"""

import os
import platform
import sysconfig
from pathlib import Path

LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "turtledemo", "__pycache__"}

root = Path(sysconfig.get_paths()["stdlib"])
found = []
for folder, below, names in os.walk(root):
    below[:] = sorted(set(below) - LEFT_OUT)
    found += [Path(folder, name) for name in names if name.endswith(".py")]
found.sort(key=lambda path: (-path.stat().st_size, path))

# The largest file first, each to the slice that has the least so far: all slices end at about the same time.
slices = [[] for _ in range(context["slices"])]
sizes = [0] * len(slices)
for path in found:
    smallest = sizes.index(min(sizes))
    slices[smallest].append(path.relative_to(root).as_posix())
    sizes[smallest] += path.stat().st_size

result = {"root": str(root), "python": platform.python_version(), "files": len(found), "slices": slices}

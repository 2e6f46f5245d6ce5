"""Files that one call of a model's method reads: taken along in its params, so that its provider may be anywhere."""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from gleitzeit.spec.files.batch_tasks import IMAGE_SUFFIXES
from gleitzeit.spec.files.known_inputs import Known
from gleitzeit.spec.problems import Path, Problem

PATHS: Final = frozenset({"file_path", "files", "image_path", "image_paths", "images"})
"""Params that name files. `images` may also hold the images themselves."""


def names_files(params: Mapping[str, Any]) -> bool:
    """Whether there are paths in them, not only files that come along."""
    if PATHS.isdisjoint(params):
        return False
    for key in PATHS & params.keys():
        listed = params[key] if isinstance(params[key], list) else [params[key]]
        if any(isinstance(one, str) and (key != "images" or _is_image_path(one)) for one in listed):
            return True
    return False


class _Files(Protocol):
    final: bool

    def named(self, path: str, *, content: bool) -> dict[str, Any]: ...


class WithFiles:
    """For the params at `path` in a document."""

    def __init__(self, files: _Files, problems: list[Problem], known: Known, path: Path) -> None:
        self._files = files
        self._problems = problems
        self._known = known
        self._path = path

    def into(self, params: dict[str, Any], method: str) -> dict[str, Any]:
        """The params with the contents of what they name. What cannot be read here is left to the provider, unless what
        these files do not have is nowhere."""
        if "relative_to" in params or PATHS.isdisjoint(params):
            return params
        changed = dict(params)
        if method.endswith(("embed", "embeddings")):
            return self._embedded(changed)
        for key in ("files", "image_paths", "images"):
            if isinstance(changed.get(key), list):
                changed[key] = [self._one((key, number), one) for number, one in enumerate(changed[key])]
        for key, listed in (("file_path", "files"), ("image_path", "image_paths")):
            if key in changed and not isinstance(taken := self._one((key,), changed[key]), str):
                del changed[key]
                changed[listed] = [taken, *changed.get(listed, ())]
        return changed

    def _embedded(self, params: dict[str, Any]) -> dict[str, Any]:
        taken = self._one(("file_path",), params["file_path"]) if "file_path" in params else None
        if not isinstance(taken, dict) or taken["encoding"] != "text" or params.keys() & {"input", "text", "prompt"}:
            return params
        return {**{key: value for key, value in params.items() if key != "file_path"}, "input": taken["content"]}

    def _one(self, at: Path, said: object) -> Any:
        """`{path, content}` in the place of a path; anything else as it was said."""
        key = str(at[0])
        path, is_open = self._known.filled(said)
        if is_open or not isinstance(path, str) or (key == "images" and not _is_image_path(path)):
            return said
        try:
            item = self._files.named(path, content=True)
        except ValueError as error:
            if self._files.final:
                self._problems.append(Problem((*self._path, *at), str(error)))
            return said
        if "content" not in item:
            return said
        if key == "images":
            return item["content"] if item["encoding"] == "base64" else said
        taken = {"path": item["path"], "content": item["content"]}
        return taken if key.startswith("image") else {**taken, "encoding": item["encoding"]}


def _is_image_path(said: str) -> bool:
    """Not a data URL, not base64."""
    return len(said) < 4096 and said.lower().endswith(IMAGE_SUFFIXES) and "://" not in said

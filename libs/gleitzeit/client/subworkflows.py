"""Workflows that a document runs as tasks and that stand in files beside it: read here, where the author is, and sent
as part of the document."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gleitzeit.errors import DocumentError
from gleitzeit.schemas import Catalogue, near
from gleitzeit.spec.check import check
from gleitzeit.spec.files.subworkflows import LIMIT_NESTING, is_file, places_of, put
from gleitzeit.spec.loading.load import load_file
from gleitzeit.spec.problems import Path as Place
from gleitzeit.spec.problems import Problem, located, problems_of, sentence
from gleitzeit.spec.references.references import has_places

Complete = Callable[[dict[str, Any], Path], tuple[dict[str, Any], list[Problem]]]
"""What makes a document of a folder complete: its environment and its paths."""


class Taking:
    """Takes files into a document. `problems` are what was wrong with them."""

    def __init__(self, complete: Complete, catalogue: Catalogue) -> None:
        self._complete = complete
        self._catalogue = catalogue
        self.problems: list[Problem] = []

    def into(self, definition: Any, folder: Path, below: Place = (), chain: tuple[Path, ...] = ()) -> Any:
        """`folder` is where files are looked for, `below` where the definition stands in the author's document."""
        for path, said in list(places_of(definition)):
            place = (*below, *path)
            if isinstance(said, dict):
                definition = put(definition, path, self.into(said, folder, place, chain))
            elif isinstance(said, str) and not has_places(said) and is_file(said):
                child = self._read(said, folder, place, chain)
                if child is not None:
                    definition = put(definition, path, child)
        return definition

    def _read(self, said: str, folder: Path, place: Place, chain: tuple[Path, ...]) -> Any:
        """The workflow in a file, with those that it runs itself; None for what is wrong with it."""
        file = (folder / Path(said).expanduser()).resolve()
        if file in chain:
            names = " → ".join(one.name for one in (*chain, file))
            return self._wrong(place, f"these workflows run each other: {names}")
        if len(chain) >= LIMIT_NESTING:
            return self._wrong(place, f"workflows within workflows are nested deeper than {LIMIT_NESTING}")
        if not file.exists():
            return self._absent(place, said, file)
        try:
            document = load_file(file, lenient=True)
        except OSError as error:
            return self._wrong(place, f"{file}: {error.strerror}")
        except DocumentError as error:
            return self._wrong(place, *_told(said, problems_of(error)) or [f"{said}: {error.message}"])
        if not isinstance(document.value, dict):
            return self._wrong(place, f"{said}: a workflow is a map with 'name' and 'tasks'")
        known = len(self.problems)
        definition, missing = self._complete(document.value, file.parent)
        definition = self.into(definition, file.parent, place, (*chain, file))
        found = (*document.problems, *check(definition, self._catalogue).problems, *missing)
        wrong = [one for one in located(found, document) if one.severity == "error"]
        if wrong:
            return self._wrong(place, *_told(said, wrong))
        return definition if len(self.problems) == known else None

    def _absent(self, place: Place, said: str, file: Path) -> None:
        there = [one.name for one in file.parent.iterdir()] if file.parent.is_dir() else []
        meant = near(file.name, there)
        suggestion = said.removesuffix(file.name) + meant if meant else ""
        self.problems.append(Problem(place, f"there is no file '{said}' (looked in {file.parent})", suggestion))

    def _wrong(self, place: Place, *messages: str) -> None:
        self.problems += [Problem(place, message) for message in messages]


def _told(name: str, problems: Any) -> list[str]:
    return [f"{name}{f':{one.line}:{one.column}' if one.line else ''}: {sentence(one)}" for one in problems]

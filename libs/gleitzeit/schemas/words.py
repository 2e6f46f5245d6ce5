"""The nearest of some words, for "did you mean …"."""

from collections.abc import Collection

_MANY = 2000
CURLY_QUOTES = "“”„‟‘’‚‛«»‹›"
QUOTES = f"\"'`{CURLY_QUOTES}"


def near(word: str, words: Collection[str]) -> str:
    """The one of `words` that the author most likely meant, or "" when none comes close."""
    import difflib  # only after a mistake: 5 ms that no start-up should pay

    folded = word.casefold().strip(QUOTES) or word.casefold()
    candidates = {other.casefold(): other for other in _worth_comparing(folded, words)}
    found = difflib.get_close_matches(folded, candidates, n=1, cutoff=0.6)
    return candidates[found[0]] if found else ""


def _worth_comparing(word: str, words: Collection[str]) -> list[str]:
    """difflib needs 20 µs a pair: of very many words only some that begin alike are compared."""
    if len(words) <= _MANY:
        return list(words)
    alike = [other for other in words if abs(len(other) - len(word)) <= 2 and other[:2].casefold() == word[:2]]
    return alike[:_MANY]

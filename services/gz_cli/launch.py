"""Which coordinator a command talks to. Light, so that a stack is on its way before anything heavy is imported."""

from gleitzeit.process.reach import Reach, Target, running, running_or_started, running_or_undecided

_MAY_NEED_MORE = (b"llm", b"ollama", b"http", b"shell", b"mcp", b"validation")

__all__ = [
    "Reach",
    "Target",
    "for_document",
    "running",
    "running_or_journal",
    "running_or_started",
    "running_or_undecided",
]


def for_document(target: Target, content: bytes) -> Reach:
    """For what is to be run: a stack of ours is started at once, unless it may have to have other providers."""
    plain = content.replace(b"http:", b"").replace(b"https:", b"")  # URLs say nothing of it
    may_need_more = any(word in plain for word in _MAY_NEED_MORE)  # never wrongly false
    return running_or_undecided(target) if may_need_more else running_or_started(target)


def running_or_journal(target: Target) -> Reach:
    """The one that runs; a stack is started only to look into a journal that is there. Raises NotRunning."""
    if target.url is None and target.journal is not None and target.journal.exists():
        return running_or_started(target)
    return running(target)

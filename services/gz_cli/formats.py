"""What can be chosen on the command line: how an answer is printed, how a graph is drawn, what `gz init` writes."""

import enum


class Format(enum.StrEnum):
    TEXT = "text"
    JSON = "json"
    YAML = "yaml"
    ID = "id"


class GraphFormat(enum.StrEnum):
    """`text` is another word for `ascii`."""

    ASCII = "ascii"
    TEXT = "text"
    MERMAID = "mermaid"
    DOT = "dot"
    SVG = "svg"


class Starter(enum.StrEnum):
    """As in `starters.STARTERS`."""

    PYTHON = "python"
    LLM = "llm"
    MIXED = "mixed"
    HTTP = "http"
    SHELL = "shell"
    BATCH = "batch"
    FLOW = "flow"

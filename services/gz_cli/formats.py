"""How an answer can be printed."""

import enum


class Format(enum.StrEnum):
    TEXT = "text"
    JSON = "json"
    YAML = "yaml"
    ID = "id"


class GraphFormat(enum.StrEnum):
    ASCII = "ascii"
    MERMAID = "mermaid"
    DOT = "dot"

"""The facts of a template's stream, `$template/<name>`. Times are UTC milliseconds."""

from msgspec import Raw, Struct


class TemplateStored(Struct, frozen=True, omit_defaults=True, tag_field="type", tag=True):
    """A version. `definition` is the document as it was submitted, to be checked again whenever it is run."""

    at: int
    version: int
    definition: Raw
    title: str = ""
    description: str = ""
    inputs: Raw = Raw(b"{}")
    """What a run may give it: a JSON Schema."""
    tasks_total: int = 0


class TemplateDeleted(Struct, frozen=True, omit_defaults=True, tag_field="type", tag=True):
    """With all its versions; what is stored under the name later has the versions that follow."""

    at: int
    version: int


TemplateEvent = TemplateStored | TemplateDeleted

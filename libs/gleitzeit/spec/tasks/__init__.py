"""One task as its author wrote it, every spelling reduced to one; nothing yet about the others."""

"""From a document to a checked definition: `check` is the way through, `problems` what is said of mistakes.

loading     from text to values that know their lines and columns
tasks       one task as its author wrote it, every spelling reduced to one
files       documents that mean files: batches, models' files, workflows that are tasks
references  what `${...}` is, what it finds, and conditions; `cel` is their language
linking     tasks brought together: who waits for whom, and whether what is referred to can be there
"""

"""Documents that mean files: batches, files for models, workflows that are tasks."""

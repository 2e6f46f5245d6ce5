"""A journal: checked, brought to the present format, copied, pruned."""

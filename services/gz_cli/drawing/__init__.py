"""A graph of tasks as a tree, as text, as SVG."""

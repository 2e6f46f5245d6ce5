"""Documents before anything runs: they are read, checked, drawn, begun, and what an editor must know of them."""

"""The story of a workflow while it is told: where it stands, how that is shown, and what came of it."""

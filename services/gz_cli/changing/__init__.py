"""What changes the course of a workflow, or answers what it asks."""

"""What asks a coordinator: each prints one answer on stdout and returns an exit code."""

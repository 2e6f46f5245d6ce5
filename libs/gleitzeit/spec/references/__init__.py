"""What `${...}` is and what it finds: in texts, in code, in commands, in conditions."""

"""Tasks brought together: who waits for whom, and whether what is referred to can be there."""

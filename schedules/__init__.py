"""When a cycle runs, and whether its result is kept."""

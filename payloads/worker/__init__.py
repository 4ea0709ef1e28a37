"""All that knows worker processes: the pool, the process and its guards, the loop inside it."""

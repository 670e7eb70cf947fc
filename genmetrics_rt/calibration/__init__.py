"""Is 38.2 good? What a perfect model would score, and what known damage scores."""

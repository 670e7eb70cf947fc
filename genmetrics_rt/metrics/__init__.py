"""One file per metric: pure functions on plain arrays. `catalogue` turns them into the scores of a report."""

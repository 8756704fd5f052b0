"""Image sets: how they are named, opened, indexed, planned into batches and loaded."""

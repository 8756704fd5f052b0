"""The report about a run: what it reads, what it makes of it, and the page."""

"""Sweeps: the same experiment with other knobs and seeds, and the table that it was run for."""

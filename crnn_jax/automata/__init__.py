"""Finite automata: what regular expressions and lists of words have in common."""

"""Connectionist temporal classification: loss and what follows from it."""

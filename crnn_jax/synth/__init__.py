"""Text images rendered on the accelerator: text, layout, ink and effects as JAX functions."""

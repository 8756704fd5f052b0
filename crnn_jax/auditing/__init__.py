"""What is wrong with an image set: the checks behind `python -m crnn_jax.audit`."""

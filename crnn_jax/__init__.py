"""Text recognition with convolutional-recurrent networks and CTC, in JAX and Flax.

Importing the package is light; the modules that need JAX import it themselves.
"""

__version__ = "0.1.0"

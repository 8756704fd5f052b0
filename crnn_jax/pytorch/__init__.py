"""PyTorch's files and networks, read without PyTorch."""

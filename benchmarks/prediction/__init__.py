"""What kernels should take on an H100, from arithmetic: predictions, which nobody has measured."""

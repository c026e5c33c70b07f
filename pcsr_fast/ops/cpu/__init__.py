"""The "cpu" backend: calls of the native kernels, one file an op."""

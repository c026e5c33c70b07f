"""Triton kernels: one module an op, depending on torch and triton only, imported by the backend that runs it."""

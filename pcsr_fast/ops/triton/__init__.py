"""The "triton" backend: one module an op, between checked arguments and the kernels of `pcsr_fast.kernels.triton`."""

"""The "cuda" backend: what the public ops run on `pcsr_fast._native_cuda` (KERNELS 1)."""

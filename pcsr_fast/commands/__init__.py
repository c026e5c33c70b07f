"""Commands of `pcsr-fast`, one module each with `main(words)`."""

"""Cython kernels; each has a .pyi beside it and releases the GIL in its loops."""

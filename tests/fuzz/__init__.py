"""Fuzz targets: one for each parser, unpacker and kernel. `make fuzz` runs them; `run.py` says how."""

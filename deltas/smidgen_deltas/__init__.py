"""Formats and the delta engine: bytes in, bytes out; no network, no database."""

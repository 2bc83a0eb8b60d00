"""Fetching bytes over HTTP: retries, resume, limits, counting."""

"""Strict tar reading, and rebuilding the very same bytes."""

"""Alembic migrations of the server's index."""

"""A pull from beginning to end."""

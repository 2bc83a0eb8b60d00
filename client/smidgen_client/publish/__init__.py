"""Sending revisions to a server."""

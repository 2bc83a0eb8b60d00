"""Deciding what to fetch and how; pure."""

"""Corpora, peers and the report."""

"""Formats of our own: ref documents, trees, packs and their maps, deltas. See FORMAT.md."""

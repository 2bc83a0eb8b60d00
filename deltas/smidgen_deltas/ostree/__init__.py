"""ostree: GVariant, objects, repositories, summaries, static deltas."""

"""Local files that may serve as a source of contents."""

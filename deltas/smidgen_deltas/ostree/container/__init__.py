"""Commits as container images, in the layout that ostree-ext and bootc read and write. See FORMAT.md."""

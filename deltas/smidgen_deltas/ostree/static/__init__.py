"""Static deltas: the files with which stock ostree clients go from one commit to the next."""

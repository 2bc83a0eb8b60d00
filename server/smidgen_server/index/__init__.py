"""The index: which contents, blobs, repositories, revisions and refs there are, and how they hang together."""

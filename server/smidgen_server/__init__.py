"""The server: api -> services -> {index, blobs, jobs}."""

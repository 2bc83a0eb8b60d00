"""tar-diff: deltas that rebuild the tar of a new layer from the files of old ones (containers/tar-diff, flatpak)."""

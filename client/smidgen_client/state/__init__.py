"""What a device remembers: trust, versions seen, stores, pins."""

"""What a device installs: plan, fetch, apply, stores, seeds, command line."""

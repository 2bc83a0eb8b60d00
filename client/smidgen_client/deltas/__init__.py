"""What `smidgen delta` works on: files and tars on this machine as the engine's trees."""

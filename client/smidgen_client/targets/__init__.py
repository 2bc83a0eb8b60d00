"""The stores a pull writes into: ostree repository, OCI layout, folder tree."""

"""What commands do with stores that are there: verify, check out, roll back, clean up."""

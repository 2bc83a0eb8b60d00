"""Blob stores: bytes by digest, in a local directory or a bucket, all of them under one contract."""

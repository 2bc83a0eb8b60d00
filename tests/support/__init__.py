"""Real servers for tests: our own, PostgreSQL, S3. Fixtures are registered in tests/conftest.py."""

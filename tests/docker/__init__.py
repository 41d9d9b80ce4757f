"""The rendered production stack in real containers; `make test-docker` runs these tests."""

"""What stands here is no test of the template's own environment: tests/test_engine.py copies it."""

collect_ignore_glob = ["*"]

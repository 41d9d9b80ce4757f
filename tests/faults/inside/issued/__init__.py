"""An app that keeps a list of the tokens which the project gives out, for tests/logs.py."""

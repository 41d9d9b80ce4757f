"""An app that calls `realtime` in every way there is, for the tests of faults."""

"""Faults that the rendered backend must survive, with real servers."""

"""A room, laid into the rendered project for the benchmark."""

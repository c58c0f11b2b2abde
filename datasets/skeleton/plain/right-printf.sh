#!/bin/sh
# By printf, and by a branch.
cat > greet.sh <<'END'
if [ "$#" -eq 0 ]; then set -- stranger; fi
printf 'Hello, %s!\n' "$1"
END

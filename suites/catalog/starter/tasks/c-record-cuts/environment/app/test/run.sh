#!/bin/sh
# One good file, and one that is cut in a text.
file=$(mktemp)
printf 'RPK1\003\001\254\002\002\005hello\003\002\001\007\004\001' >"$file"
got=$(./build/rpk "$file")
want='int 300
text "hello"
list 2
  int 7
  ref 1 (text)'
[ "$got" = "$want" ] || { echo "good file: got:"; echo "$got"; exit 1; }
printf 'RPK1\001\002\005hell' >"$file"
got=$(./build/rpk "$file" 2>/dev/null)
[ $? = 2 ] && [ -z "$got" ] || { echo "cut file: not refused"; exit 1; }
rm -f "$file"
echo "all good"

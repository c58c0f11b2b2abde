#!/bin/sh
# Checks the program that `make` built.
failed=0
check() {
    want=$1
    shift
    got=$(./build/conv "$@" 2>&1)
    [ "$got" = "$want" ] || { echo "conv $*: expected '$want', got '$got'"; failed=1; }
}
check "4.82803 km" 3 mi km
check "90 s" 1.5 min s
check "conv: cannot convert mass to time" 1 kg h
check "conv 1.4.0, 11 units" --version
[ $failed = 0 ] && echo "all good"
exit $failed

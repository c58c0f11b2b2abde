#!/bin/sh
# The oracle: a solution that is known to be right. This folder is at /solution, for the oracle alone.
# FILL IN, for example: patch -p1 < /solution/fix.patch
exit 1

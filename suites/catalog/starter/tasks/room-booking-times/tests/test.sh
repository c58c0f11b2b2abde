#!/bin/sh
cd / && exec timeout 100 python3 -I -S -B /tests/run.py

#!/bin/sh
cd / && exec timeout 110 python3 -I -S -B /tests/run.py

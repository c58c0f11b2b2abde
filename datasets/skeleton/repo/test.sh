#!/bin/sh
# Judges: runs in the working folder after the agent has ended. This folder is at /tests, and was not there before.
# Trust nothing that the agent could have changed: run hidden tests from /tests with a runner of your own.
. /tests/ctrf.sh

# FILL IN: one line for each hidden test, under the names that stand in task.toml.
check fill_in_what_fails_before false
check fill_in_what_always_passes true
finish

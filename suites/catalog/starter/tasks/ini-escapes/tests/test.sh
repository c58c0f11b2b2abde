#!/bin/sh
unset NODE_OPTIONS NODE_PATH
cd / && exec timeout 110 node /tests/run.js

#!/bin/sh
# Judges: runs in the working folder after the agent has ended. This folder is at /tests, and was not there before.
# Every requirement that is tested here follows from instruction.md. Trust nothing that the agent could have changed.
. /tests/ctrf.sh

greets() {
    expected=$1
    shift
    got=$(timeout 5 sh greet.sh "$@") || return 1
    [ "$got" = "$expected" ] || { echo "greet.sh $* printed '$got', expected '$expected'"; return 1; }
}

check the_script_is_there test -f greet.sh
check the_visible_name greets 'Hello, World!' World
check another_name greets 'Hello, Ada!' Ada
check a_name_with_blanks greets 'Hello, Mary  Ann!' 'Mary  Ann'
check no_name greets 'Hello, stranger!'
finish

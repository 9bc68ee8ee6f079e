#!/bin/sh
# Reads the file that `emcache follow` keeps: sh read-users.sh caches/users.db 18
set -eu
sqlite3 -readonly -separator ' ' "$1" "SELECT id, email, age FROM users WHERE age >= $2 ORDER BY id"

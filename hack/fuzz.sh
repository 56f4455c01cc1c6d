#!/bin/sh
# Runs every fuzz target that there is for the time given, such as 5s.
set -eu
cd "$(dirname "$0")/.."
grep -ro --include='*_test.go' '^func Fuzz[A-Za-z0-9]*' . | sed 's|/[^/]*:func | |' | sort | while read -r package target; do
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$1" -fuzzminimizetime 20x "$package" </dev/null
done

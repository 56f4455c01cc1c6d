#!/bin/sh
# Fails if a file that is derived from others, or go.mod, is stale; `make verify` has written the derived ones anew before.
set -eu
cd "$(dirname "$0")/.."
go mod tidy -diff
go test -C tools/packaging -run 'AreOne|README' .
go test -count=1 -run Fresh ./cmd/fairlead ./config/crd ./internal/verdict
git diff --exit-code -- api config charts statuspage go.mod go.sum

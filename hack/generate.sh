#!/bin/sh
# Writes the files that are derived from the API types: deepcopy methods and CustomResourceDefinitions.
set -eu
cd "$(dirname "$0")/.."
go tool -modfile=tools/go.mod controller-gen object paths=./api/...
go tool -modfile=tools/go.mod controller-gen crd paths=./api/... output:crd:dir=config/crd

#!/bin/sh
# Writes the files that are derived from others: deepcopy methods and CustomResourceDefinitions from the API types, the
# status page from its templates, and the chart's copies of the definitions, the permissions and the webhooks.
set -eu
cd "$(dirname "$0")/.."
go tool -modfile=tools/go.mod controller-gen object paths=./api/...
go tool -modfile=tools/go.mod controller-gen crd paths=./api/... output:crd:dir=config/crd
go tool -modfile=tools/go.mod templ generate -path statuspage -include-version=false -log-level warn

files=charts/fairlead/files
rm -rf $files/crd $files/rbac $files/webhook
mkdir -p $files/crd $files/rbac $files/webhook
cp config/crd/*.io_*.yaml $files/crd
cp config/rbac/controller.yaml config/rbac/speaker.yaml config/rbac/speakerpolicy.yaml config/rbac/viewer.yaml config/rbac/status.yaml config/rbac/metrics.yaml config/rbac/ipvs/ipvs.yaml config/rbac/ipvs/ipvspolicy.yaml $files/rbac
cp config/webhook/service.yaml config/webhook/webhook.yaml $files/webhook
cp config/webhook/conversion/bgppeers.yaml $files/webhook/conversion.yaml

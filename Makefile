# Everything that builds and tests Fairlead. `make` alone lists the targets.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
TAGS    := browser,envtest,netns,vm,e2e,install,bench,soak
FUZZ    := 5s
FUZZED  := $(addprefix speaker/,layer2/FuzzARP layer2/FuzzNDP bgp/FuzzOpen bgp/FuzzMessage heartbeat/FuzzMessage bfd/FuzzPacket bfd/FuzzEcho) \
           policy/FuzzParseRange policy/FuzzParseCommunity lint/FuzzCheck allocator/FuzzParseNodePorts
# Builds run as the caller; only what makes network namespaces is raised, with the caller's PATH and cache.
CACHE   := $(or $(FAIRLEAD_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/fairlead)
ROOT    := $(if $(filter 0,$(shell id -u)),,$(shell command -v sudo)) env "PATH=$(PATH)" "FAIRLEAD_CACHE=$(CACHE)"
AS_ROOT := go test -exec '$(ROOT)' -count=1
# Nodes in a virtual machine, the control plane outside.
WITH_API := CGO_ENABLED=0 go test -exec '$(ROOT) $(CURDIR)/bin/lab machine --control-plane --memory 2048' -count=1

.PHONY: help build manifests chart image setup test test-unit test-packaging test-envtest test-vm test-browser test-netns test-e2e test-install e2e-artifacts fuzz bench soak demo demo-keep demo-cluster lint generate verify
help: ## List the targets
	@grep -hE '^[a-z0-9 -]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

# grpcnotrace: gRPC, which GoBGP brings, then runs no templates. Nor does what is ours (internal/deptest): the linker would keep all methods.
build: ## Build bin/fairlead, static
	CGO_ENABLED=0 go build -tags grpcnotrace -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/fairlead ./cmd/fairlead
manifests chart image: ## Write dist/: one file to kubectl apply; the Helm chart; the image for two architectures
	go run -C tools/packaging . -version $(VERSION) -out $(CURDIR)/dist $@

setup: ## Install missing Debian packages, build missing Kubernetes binaries (about 10 minutes the first time)
	@go build -o bin/lab ./e2e/cmd/lab
	@bin/lab binaries

test: setup build test-unit test-packaging fuzz test-envtest test-vm test-netns test-e2e ## Run every test; the last two tiers need root
test-unit: ## Run the pure tests: no root, no cluster, no set-up
	go test -race ./...
test-packaging: ## Test the chart, the manifests and the image
	go test -C tools/packaging -timeout 30m ./...
test-envtest: setup ## Test the controllers against a real API server
	KUBEBUILDER_ASSETS="$$(bin/lab assets)" go test -race -count=1 -tags envtest ./controllers/...
test-browser: ## Test the status page in a headless Chromium (Debian's chromium-headless-shell)
	go test -count=1 -tags browser -run Browser ./statuspage
test-netns: setup ## Test the edges against the kernel, in network namespaces (root)
	$(AS_ROOT) -race -tags netns ./speaker/...
	$(AS_ROOT) -tags netns ./speaker/bgp # the races of GoBGP's own are told in the tests
test-vm: setup build ## Test against a kernel with IPVS and VRF, each package in a virtual machine of its own (root)
	CGO_ENABLED=0 go test -exec '$(CURDIR)/bin/lab machine' -count=1 -p 1 -tags vm ./e2e/machine ./ipvs ./ipvs/kernel
	CGO_ENABLED=0 go test -exec '$(CURDIR)/bin/lab machine' -count=1 -p 1 -tags vm -run 'VRF|VLAN' ./speaker/bgp ./speaker/bfd ./speaker/layer2
	$(WITH_API) -tags vm ./e2e/ipvs
e2e-artifacts: setup ## Build what the cluster with kubelets runs, kubelet and containerd too (6 minutes more the first time)
	@bin/lab binaries --kubelets
	@bin/lab artifacts

test-install: build e2e-artifacts ## Install with Helm and with kubectl in a cluster of real kubelets (root)
	$(AS_ROOT) -tags install -timeout 20m ./e2e/install
test-e2e: setup build ## Test users' stories in a cluster in network namespaces (root)
	$(AS_ROOT) -tags e2e -timeout 20m -p 1 ./e2e/...

fuzz: ## Fuzz what parses bytes from the wire or text from users, each target for $(FUZZ)
	@set -e; for f in $(FUZZED); do go test -run '^$$' -fuzz "^$${f##*/}\$$" -fuzztime $(FUZZ) -fuzzminimizetime 20x ./$${f%/*}; done
bench: setup build ## Measure; the figures belong into docs/performance.md (root)
	$(AS_ROOT) -v -tags bench -timeout 30m -run '^$$' -bench . ./e2e/bench ./speaker/layer2 ./speaker/bgp ./speaker/peering ./speaker/bfd
soak: setup build e2e-artifacts ## The long versions of the tests (root)
	$(MAKE) fuzz FUZZ=30s
	CGO_ENABLED=0 go test -exec "$(CURDIR)/bin/lab machine --file kube-proxy=$$(bin/lab assets)/kube-proxy" -count=1 -tags vm,soak ./ipvs
	$(AS_ROOT) -tags soak -timeout 20m -run Reachability ./speaker/layer2
	$(WITH_API) -tags vm,soak ./e2e/ipvs
	$(AS_ROOT) -tags e2e,install,soak -timeout 60m -p 1 ./e2e/...

demo demo-keep: setup build ## See it work: a cluster, an address, a node that dies (root); -keep: until Ctrl-C
	@$(ROOT) bin/lab demo $(if $(filter demo-keep,$@),--keep)
demo-cluster: build e2e-artifacts ## The same on real nodes with kubelets, installed by Helm as a user would (root)
	@$(ROOT) bin/lab demo --kubelets

lint: ## go vet, staticcheck and three small linters, with all build tags
	go vet -tags $(TAGS) ./...
	go tool -modfile=tools/go.mod staticcheck -tags $(TAGS) ./...
	GOFLAGS=-tags=$(TAGS) go tool -modfile=tools/go.mod go-errorlint ./...
	GOFLAGS=-tags=$(TAGS) go tool -modfile=tools/go.mod exhaustive -explicit-exhaustive-switch ./...
	go tool -modfile=tools/go.mod gochecknoinits ./...
	cd tools/packaging && go vet ./... && go tool -modfile=../go.mod staticcheck ./...
generate: ## Write deepcopy functions, CRDs and the status page's code anew
	hack/generate.sh
verify: generate ## Fail if a generated file or go.mod is stale
	go mod tidy -diff
	go test -C tools/packaging -run 'AreOne|README' .
	go test -count=1 -run Fresh ./cmd/fairlead ./config/crd ./internal/verdict
	git diff --exit-code -- api config charts statuspage go.mod go.sum

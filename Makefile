# Everything that builds and tests Fairlead. `make` alone lists the targets.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZ    := 5s
# Builds run as the caller; only what makes network namespaces is raised, with the caller's PATH, cache and Kubernetes.
CACHE   := $(or $(FAIRLEAD_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/fairlead)
ROOT    := $(if $(filter 0,$(shell id -u)),,$(shell command -v sudo)) env "PATH=$(PATH)" "FAIRLEAD_CACHE=$(CACHE)" "FAIRLEAD_KUBERNETES=$(FAIRLEAD_KUBERNETES)"
AS_ROOT := go test -exec '$(ROOT)' -count=1
# In a virtual machine, each package in one of its own; and nodes in one, with the control plane outside.
IN_VM   := CGO_ENABLED=0 go test -exec '$(CURDIR)/bin/lab machine' -count=1 -p 1
BESIDE_PROXY = CGO_ENABLED=0 go test -exec "$(CURDIR)/bin/lab machine --file kube-proxy=$$(bin/lab assets)/kube-proxy" -count=1
NODES_IN_VM := CGO_ENABLED=0 go test -exec '$(ROOT) $(CURDIR)/bin/lab machine --control-plane --memory 2048 --limit 30m' -count=1

.PHONY: $(shell sed -n 's/:.*## .*//p' $(MAKEFILE_LIST))
help: ## List the targets
	@sed -n 's/^\([a-z0-9 -]*\):.*## /  make \1	/p' $(MAKEFILE_LIST) | expand -t 36
# grpcnotrace: gRPC, which GoBGP brings, then runs no templates. Nor does what is ours (internal/deptest): the linker would keep all methods.
build: ## Build bin/fairlead, static
	CGO_ENABLED=0 go build -tags grpcnotrace -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/fairlead ./cmd/fairlead
manifests chart image push: ## Write dist/: one file to kubectl apply, Helm chart, image for two architectures; or push it as IMAGE
	go run -C tools/packaging . -version $(VERSION) -image "$(IMAGE)" -out $(CURDIR)/dist $@
setup: ## Install missing Debian packages, build missing Kubernetes binaries (about 10 minutes the first time)
	@go build -o bin/lab ./e2e/cmd/lab && bin/lab binaries
e2e-artifacts: setup ## Build what the cluster with kubelets runs, kubelet and containerd too (6 minutes more the first time)
	@bin/lab binaries --kubelets && bin/lab artifacts

test: setup build test-unit test-packaging fuzz test-envtest test-vm test-netns test-e2e ## Run every test; the last two tiers need root
test-unit: ## Run the pure tests: no root, no cluster, no set-up
	go test -race ./...
test-packaging: ## Test the chart, the manifests and the image
	go test -C tools/packaging -timeout 30m ./...
test-envtest: setup ## Test the controllers against a real API server
	KUBEBUILDER_ASSETS="$$(bin/lab assets)" go test -race -count=1 -tags envtest ./controllers/...
test-browser: ## Test the status page in a headless Chromium (Debian's chromium-headless-shell)
	go test -count=1 -tags browser -run Browser ./statuspage
test-netns: setup ## Test the edges against the kernel, in network namespaces (root); GoBGP's own races are told in the tests
	$(AS_ROOT) -race -tags netns ./speaker/...
	$(AS_ROOT) -tags netns ./speaker/bgp
test-vm: setup build ## Test against a kernel with IPVS and VRF, in virtual machines (root)
	$(IN_VM) -tags vm ./e2e/machine ./ipvs/kernel
	$(BESIDE_PROXY) -tags vm ./ipvs
	$(IN_VM) -tags vm -run 'VRF|VLAN' ./speaker/bgp ./speaker/bfd ./speaker/layer2
	$(NODES_IN_VM) -tags vm ./e2e/ipvs
test-e2e: setup build ## Test users' stories in a cluster in network namespaces (root)
	$(AS_ROOT) -tags e2e -timeout 20m -p 1 ./e2e/...
test-install: build e2e-artifacts ## Install with Helm and with kubectl in a cluster of real kubelets (root)
	$(AS_ROOT) -tags install -timeout 20m -p 1 ./e2e/install ./e2e/cmd/lab
test-oldest: ## Test controllers, stories and installation on the oldest Kubernetes that is supported (root)
	FAIRLEAD_KUBERNETES=oldest $(MAKE) test-envtest test-e2e test-install
fuzz: ## Fuzz what parses bytes from the wire or text from users, each target for $(FUZZ)
	hack/fuzz.sh $(FUZZ)
bench: setup build ## Measure; the figures belong into docs/performance.md (root)
	$(AS_ROOT) -v -tags bench -timeout 75m -run '^$$' -bench . ./e2e/bench ./speaker/layer2 ./speaker/bgp ./speaker/peering ./speaker/bfd
	go test -count=1 -v -tags bench -timeout 90m -run SizeOf ./speaker/members
	go test -count=1 -run '^$$' -bench Round ./controllers
	$(IN_VM) -tags vm -run '^$$' -bench Large -benchtime 1x ./ipvs/kernel
	$(NODES_IN_VM) -v -tags vm,bench -timeout 30m -run '^$$' -bench . -benchtime 1x ./e2e/ipvs
soak: setup build e2e-artifacts ## The long versions of the tests (root)
	$(MAKE) fuzz FUZZ=30s
	$(BESIDE_PROXY) -tags vm,soak ./ipvs
	$(AS_ROOT) -tags soak -timeout 20m -run Reachability ./speaker/layer2
	$(NODES_IN_VM) -tags vm,soak -timeout 30m ./e2e/ipvs
	$(AS_ROOT) -tags e2e,install,soak -timeout 60m -p 1 ./e2e/...
	$(MAKE) test-oldest

demo demo-keep: setup build ## See it work: a cluster, an address, a node that dies (root); -keep: until Ctrl-C
	@$(ROOT) bin/lab demo $(if $(filter demo-keep,$@),--keep)
demo-cluster: build e2e-artifacts ## The same on real nodes with kubelets, installed by Helm as a user would (root)
	@$(ROOT) bin/lab demo --kubelets

lint generate verify: ## go vet, staticcheck and more; write generated files anew; fail if one of them or go.mod is stale
	hack/$@.sh
verify: generate

# Everything here installs what it needs, into this directory or Go's own caches.
# Needed beforehand: Go 1.26, Python 3.11, make; a C compiler for the race detector.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# The order of prerequisites is the order of work: the summary of the tests comes last.
.NOTPARALLEL:

GO     ?= go
PYTHON ?= $(if $(shell command -v python3.11),python3.11,python3)
# The tools are pinned in a module of their own, so that they do not choose the
# versions of the product's dependencies.
TOOL   := $(GO) tool -modfile=tools/go.mod

# Build information needs a repository that git is willing to read.
BUILDVCS := $(if $(shell git rev-parse --verify -q HEAD 2>/dev/null),auto,false)
# Without a C compiler Go has no race detector; the assertions stay on.
RACE := $(if $(filter 1,$(shell $(GO) env CGO_ENABLED)),-race,-tags=invariants)

TEST_TIMEOUT ?= 30m
FUZZTIME     ?= 5s
SDK          ?=
COUNT        ?= 1
PKG          ?= ./...
INPUT        ?=
BENCH_ARGS   ?=
RUNS         ?= 100
SEED         ?= 1
CHAOS_ARGS   ?=

# The tests of ./conformance find their subjects here. GORUNNER_CONFORMANCE says
# which suites they run: none, smoke, go, python or all. They run the binary, of
# which Go's cache of test results knows nothing: hence -count=1.
export GORUNNER_BIN    := $(CURDIR)/bin/gorunner
export GORUNNER_PYTHON := $(CURDIR)/.venv/bin/python

# The tests of ./blob start an S3 server, if there is one.
export GORUNNER_VERSITYGW := $(CURDIR)/.cache/versitygw

GOTESTSUM := $(TOOL) gotestsum --format=pkgname --format-hide-empty-pkg --junitfile=out/junit.xml --

##@ Start here

.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## "; print "usage: make <target> [NAME=value ...]" } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z][a-z-]*:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: export INPUT := $(INPUT)
demo: build .venv ## Count words with a Go and a Python pipeline (INPUT=file or glob)
	scripts/demo.sh

.PHONY: test
test: check-race fmt-check vet lint layers build .venv s3-server ## Everything CI runs, smoke conformance suites included
	@mkdir -p out
	GORUNNER_CONFORMANCE=smoke $(GOTESTSUM) $(RACE) -count=1 -timeout=$(TEST_TIMEOUT) ./...

##@ Build

.PHONY: build
build: ## Build the static binary bin/gorunner
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=$(BUILDVCS) -ldflags='-s -w' -o bin/gorunner ./cmd/gorunner

.PHONY: python .venv
python: .venv ## Make the Python environment .venv with Beam's Python SDK
.venv: .venv/installed

# The stamp is written last: an interrupted installation starts afresh.
.venv/installed: conformance/python/requirements.txt
	$(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

# It is pinned in a module of its own, because it needs other versions of what
# the tools need.
.cache/versitygw: tools/versitygw/go.mod
	@mkdir -p .cache
	$(GO) build -modfile=$< -o $@ github.com/versity/versitygw/cmd/versitygw

.PHONY: s3-server
s3-server:
	@$(MAKE) --no-print-directory .cache/versitygw || echo 'warning: no S3 server: the tests that need one are SKIPPED' >&2

.PHONY: clean
clean: ## Remove all that was built, the Python environment included
	rm -rf bin out .cache .venv

##@ Check

.PHONY: unit
unit: check-race s3-server ## Run the tests under the race detector, without conformance suites (PKG=./plan/...)
	@mkdir -p out
	GORUNNER_CONFORMANCE=none $(GOTESTSUM) $(RACE) -timeout=$(TEST_TIMEOUT) $(PKG)

.PHONY: layers
layers: ## Check the layers and file lengths alone
	$(GO) test ./internal/layers

.PHONY: lint
lint: ## Run the linters (PKG=./plan/...)
	$(TOOL) golangci-lint run $(PKG)

.PHONY: vet
vet: ## Run go vet
	$(GO) vet $(PKG)

.PHONY: fmt
fmt: ## Format the Go files
	$(TOOL) golangci-lint fmt

.PHONY: fmt-check
fmt-check: ## Show Go files that are not formatted
	$(TOOL) golangci-lint fmt --diff

.PHONY: fuzz-smoke
fuzz-smoke: ## Run every fuzz target for a few seconds (FUZZTIME=5s)
	@found=$$(find . -name '*_test.go' -not -path './.*' -exec grep -noE '^func Fuzz[A-Za-z0-9_]*\(' /dev/null {} + || true); \
	[ -n "$$found" ] || { echo 'no fuzz target found' >&2; exit 1; }; \
	count=0; \
	while IFS=: read -r file _ func; do \
		name=$${func#func }; name=$${name%(}; count=$$((count + 1)); \
		echo "== $$name in $$(dirname "$$file")"; \
		$(GO) test -run='^$$' -fuzz="^$$name\$$" -fuzztime=$(FUZZTIME) "./$$(dirname "$$file")" </dev/null; \
	done <<<"$$found"; \
	echo "$$count fuzz targets ran"

.PHONY: conformance
conformance: build .venv ## Run all suites of one SDK (SDK=go, python, java or typescript; COUNT=5 runs each five times)
	@case '$(SDK)' in go|python|java|typescript) ;; *) echo 'say which: make conformance SDK=go, python, java or typescript' >&2; exit 2;; esac
	@mkdir -p out
	GORUNNER_CONFORMANCE=$(SDK) GORUNNER_CONFORMANCE_COUNT=$(COUNT) $(GOTESTSUM) -count=1 -timeout=10h ./conformance/...

.PHONY: conformance-doc
conformance-doc: ## Write docs/conformance.md from the outcomes of the suites
	$(GO) run ./conformance/report

.PHONY: conformance-smoke
conformance-smoke: build .venv ## Run the part of Beam's suites that belongs to make test
	@mkdir -p out
	GORUNNER_CONFORMANCE=smoke $(GOTESTSUM) -count=1 -timeout=$(TEST_TIMEOUT) ./conformance/...

.PHONY: conformance-chaos
conformance-chaos: build .venv ## Run suites of Go and Python while runner and workers are killed
	@mkdir -p out
	GORUNNER_CONFORMANCE=chaos $(GOTESTSUM) -count=1 -timeout=10h -run=TestSuitesUnderChaos ./conformance

.PHONY: bench
bench: .venv ## Measure speed and memory beside Prism and the ceiling (BENCH_ARGS=...)
	$(GO) run ./bench $(BENCH_ARGS)

.PHONY: chaos
chaos: .venv ## Run pipelines while runner and workers are killed (RUNS=100, SEED=1, CHAOS_ARGS=...)
	$(GO) run ./conformance/chaos/soak -runs=$(RUNS) -seed=$(SEED) $(CHAOS_ARGS)

.PHONY: mutations
mutations: ## Break the protocol of commits on purpose: the tests must notice
	$(GO) run ./conformance/chaos/mutate

.PHONY: check-race
check-race:
	@if [ '$(RACE)' != -race ]; then echo 'warning: no C compiler, or CGO_ENABLED=0: the tests run WITHOUT the race detector' >&2; fi

# Everything that one does with Holdfast from a checkout. `make help` lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

export CARGO_TERM_COLOR ?= auto
DENY := .cache/tools/bin/cargo-deny
DENY_VERSION := 0.20.2

.PHONY: help
help: ## this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## the release binary, target/release/holdfast
	cargo build --release --locked

.PHONY: demo
demo: build ## three brokers on this machine, a live table; Ctrl-C ends it
	target/release/holdfast up examples/orders.yaml --data .data/demo

.PHONY: demo-check
demo-check: build ## the demo that drives itself: produce, kill -9 a leader, read everything back
	tests/demo-check

# Tests of the whole run the very binary that is in the image, so one build serves them all.
SHIPPED := .cache/image/holdfast

.PHONY: test
test: lint ## everything that continuous integration runs; needs root
	# Side by side, for what one compiles last keeps one core busy; nothing goes on before both have ended.
	image/build & charts/check && checked=0 || checked=$$?; wait $$! && exit $$checked
	$(MAKE) unit
	tests/demo-check --binary $(SHIPPED)
	tests/clients/run --binary $(SHIPPED)
	tests/lyingdisk/run --binary $(SHIPPED)
	tests/e2e/run

.PHONY: lint
lint: $(DENY) ## formatting, clippy, licences, generated files
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	$(DENY) check --hide-inclusion-graph licenses bans sources
	tests/lint
	charts/crds --check
	tests/guarantees --check

$(DENY):
	CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --debug --locked --root .cache/tools cargo-deny@$(DENY_VERSION)

.PHONY: unit
unit: ## unit and property tests; CRDs are put to a real API server too once one was built
	$(addprefix HOLDFAST_CLUSTER_BIN=,$(wildcard $(CURDIR)/.cache/cluster/bin)) cargo test --workspace --locked

.PHONY: simulate
simulate: ## whole clusters in one thread with fresh seeds, for TIME=600 seconds
	cargo run --release --locked -p holdfast-simulation -- $(or $(TIME),600) 2

# LLVM counts what each input reaches; only what is built for the target is instrumented, not build scripts.
COVERAGE := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters

.PHONY: fuzz
fuzz: ## hostile bytes with fresh seeds, guided by coverage, for TIME=600 seconds; of TARGETS= or of all
	RUSTFLAGS="$(COVERAGE)" cargo run --profile fuzz --locked -p holdfast-fuzz --features coverage \
	  --target "$$(rustc -vV | sed -n 's/^host: //p')" -- $(or $(TIME),600) $(TARGETS)

.PHONY: clients
clients: build ## other people's clients against three local brokers
	tests/clients/run

.PHONY: disks
disks: build ## three brokers on disks that lose, fail, fill up and rot; needs root and /dev/fuse
	tests/lyingdisk/run

.PHONY: lying-disk
lying-disk: build ## the same at length, with more seeds
	tests/lyingdisk/run --long

.PHONY: image
image: ## the one image, as .cache/image/holdfast.tar; needs no docker
	image/build $(IMAGE)

.PHONY: chart
chart: ## lint the Helm chart, and compare what it makes with charts/golden
	charts/check

.PHONY: e2e
e2e: image chart ## a real Kubernetes on this machine (root), the chart, and every fault; about half an hour
	tests/e2e/run $(FAULTS)

.PHONY: conformance
conformance: build ## other people's test suites; takes about an hour
	tests/conformance/run

.PHONY: model
model: ## the model of replication for TIME seconds, with fresh seeds
	cargo run --release --locked -p holdfast-model -- $(or $(TIME),600)

.PHONY: bench
bench: build ## side by side with Apache Kafka on this machine
	bench/run

.PHONY: crds
crds: ## write crds/ and docs/fields.md anew from the Rust types, and the chart's copies
	cargo run --quiet --locked -p holdfast-api --bin crdgen
	charts/crds

.PHONY: clean
clean: ## remove what was built, cached and stored here
	cargo clean
	rm -rf .cache .data

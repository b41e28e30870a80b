# Elevate: what to type. `make` alone lists the targets.
#
# A person without root but with sudo may run any target: only apt and the test hosts use root.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help deps build release sudo-rs tree stage-debug stage-release test lint demo bench fuzz faults backlog clean

PREFIX ?= /usr/local
CARGO ?= cargo

# Build: the linker, PAM's headers, libclang for the bindings to libpam.
# Test hosts: a bootstrapper and its keyring, ip, nsenter and unshare, ssh-keygen.
# Tests of the module and of the rendered rules: sudo with its cvtsudoers, pamtester.
# The units are read by systemd-analyze, whether or not systemd runs here.
# Faults: strace strikes at system calls, sqlite3 looks at the database from outside, xfs_io cuts the power of an ext4. Keys behind PKCS#11: softhsm2, opensc.
DEPS := gcc libc6-dev libpam0g-dev libclang-dev mmdebstrap iproute2 util-linux openssh-client sudo pamtester strace sqlite3 softhsm2 opensc systemd \
	e2fsprogs mount xfsprogs

ROOT := $(if $(filter 0,$(shell id -u)),,sudo)

# Test programs run as root, what cargo builds stays the person's: cargo runs them through sudo.
# -E keeps cargo's own variables; sudo is asked for the password once, at the start.
TRIPLE = $(shell rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
# Which release the test hosts have; the machine's own by default.
KEEP = $(if $(ELEVATE_TEST_RELEASE),env ELEVATE_TEST_RELEASE='$(ELEVATE_TEST_RELEASE)')
RUNNER = $(if $(ROOT),CARGO_TARGET_$(TRIPLE)_RUNNER='sudo -E')

# Root's path may have no cargo (sudo make install): then it is the folder where cargo builds by itself.
TARGET = $(or $(shell $(CARGO) metadata --format-version 1 --no-deps 2> /dev/null | sed 's/.*"target_directory":"\([^"]*\)".*/\1/'),$(CURDIR)/target)

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | sort | while IFS=$$'\t' read -r name what; do \
		printf '  make %-10s %s\n' "$$name" "$$what"; done

deps: ## install from the distribution what is missing for build and tests
	@command -v $(CARGO) > /dev/null || { echo 'error: cargo is missing: install Rust 1.94 or later' >&2; exit 1; }
	@missing=(); for package in $(DEPS); do \
		[[ "$$(dpkg-query -W -f '$${db:Status-Status}' "$$package" 2> /dev/null || true)" == installed ]] || missing+=("$$package"); \
	done; \
	if (( $${#missing[@]} )); then \
		echo "installing: $${missing[*]}"; \
		$(ROOT) apt-get -q -o DPkg::Lock::Timeout=600 update; \
		$(ROOT) env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 \
			install -y --no-install-recommends "$${missing[@]}"; \
	fi

build: ## build everything for development
	$(CARGO) build --workspace --all-targets --locked

# Root code is built by itself: what the SSH side turns on in a crate that both use is not linked into it
# (docs/dependencies/; tests/tests/layering.rs).
ROOT_CODE := elevate-agent elevate-principals pam-elevate
release: ## build the programs as they are installed
	$(CARGO) build --workspace $(ROOT_CODE:%=--exclude %) --release --locked
	$(CARGO) build $(ROOT_CODE:%=--package %) --release --locked

# The other sudo, from the registry of crates, built once. What it shares with cargo's own folder is nothing: its lock file is its own.
SUDO_RS := 0.2.15
sudo-rs: deps ## build the sudo-rs that test hosts can have as their sudo (once)
	@[[ -e '$(TARGET)/sudo-rs/$(SUDO_RS)' ]] || { \
		$(CARGO) install --quiet --locked --force --no-track --version '$(SUDO_RS)' --root '$(TARGET)/sudo-rs' \
			--target-dir '$(TARGET)/sudo-rs/build' sudo-rs; \
		rm -rf '$(TARGET)/sudo-rs/build'; touch '$(TARGET)/sudo-rs/$(SUDO_RS)'; }

tree: deps sudo-rs ## make the system that all test hosts start from (once); ELEVATE_TEST_RELEASE=trixie for another release
	$(CARGO) build --workspace --bin testbed --locked
	$(ROOT) $(KEEP) '$(TARGET)/debug/testbed' tree

# What `make install` puts in place, as a layer of every test host.
stage-debug stage-release: stage-%:
	$(ROOT) rm -rf '$(TARGET)/testbed/stage/$*'
	$(ROOT) $(MAKE) -s install DESTDIR='$(TARGET)/testbed/stage/$*' PREFIX=/usr BUILT='$(TARGET)/$*' > /dev/null

test: deps build tree stage-debug ## run every test there is, in test hosts where it takes a host
	$(ROOT) true
	if $(CARGO) nextest --version > /dev/null 2>&1; then \
		$(RUNNER) $(CARGO) nextest run --workspace --locked; \
	else \
		$(RUNNER) $(CARGO) test --workspace --lib --bins --tests --no-fail-fast --locked; \
	fi
	$(CARGO) test --workspace --doc --locked

faults: deps build tree stage-debug ## strike at every change to a disk in every way there is: an hour or two
	$(ROOT) true
	ELEVATE_FAULTS=all $(RUNNER) $(CARGO) test --package elevate-tests --test faults --locked -- --nocapture

backlog: deps build tree stage-debug ## a week without the daemon and 100 000 reports after it: some minutes
	$(ROOT) true
	ELEVATE_BACKLOG=100000 $(RUNNER) $(CARGO) test --package elevate-tests --test away --locked -- --nocapture

# The fuzz targets are checked without libFuzzer itself, which only linking needs.
lint: deps ## check format, clippy and documentation
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --document-private-items --locked
	CUSTOM_LIBFUZZER_PATH=/nowhere/libfuzzer.a $(CARGO) check --manifest-path fuzz/Cargo.toml --target-dir '$(TARGET)' --locked --bins

demo: deps release ## play the whole story in throw-away hosts, then leave you in a shell there
	$(ROOT) $(KEEP) '$(TARGET)/release/testbed' tree
	$(MAKE) -s stage-release
	$(ROOT) '$(TARGET)/release/elevate-demo'

# BENCH='--quick' for small numbers, BENCH='sudo idle' for some of the figures.
BENCH ?=
bench: deps release ## measure what the documents promise, on test hosts (BENCH=--quick)
	$(ROOT) '$(TARGET)/release/testbed' tree
	$(MAKE) -s stage-release
	$(RUNNER) $(CARGO) bench --package elevate-tests --bench figures --locked -- $(BENCH)

# Needs a nightly toolchain: the flags are those of libFuzzer's coverage. No address sanitizer, since nothing here is unsafe.
TARGETS ?= frame grant paste policy ssh_login sudoers
FUZZ_SECONDS ?= 60
FUZZ_FLAGS := --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
	-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks
FUZZ_TARGET = $(shell rustc -vV | sed -n 's/^host: //p')
fuzz: DEPS += g++
fuzz: deps ## run the fuzz targets guided by coverage, FUZZ_SECONDS each (60); what they find goes to fuzz/artifacts
	RUSTFLAGS='$(FUZZ_FLAGS)' $(CARGO) +nightly build --manifest-path fuzz/Cargo.toml --target-dir fuzz/target \
		--release --locked --target '$(FUZZ_TARGET)' --bins
	for target in $(TARGETS); do \
		mkdir -p "fuzz/target/corpus/$$target" fuzz/artifacts; \
		"fuzz/target/$(FUZZ_TARGET)/release/$$target" "fuzz/target/corpus/$$target" "fuzz/corpus/$$target" \
			-artifact_prefix="fuzz/artifacts/$$target-" -max_total_time=$(FUZZ_SECONDS) -max_len=65536 -timeout=10 -rss_limit_mb=2048; \
	done

clean: ## remove everything that was built, the tree of the test hosts included
	$(ROOT) rm -rf '$(TARGET)/testbed'
	$(CARGO) clean

-include packaging/install.mk

# `make run` and `make test` work on a fresh Debian or Ubuntu with a Rust toolchain: they install what is missing, build
# RocksDB once per machine and keep what is built under ~/.cache/convoy.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory

# Flags of `convoy serve`, or of `cargo test` and `cargo bench`.
ARGS ?=

environment = lines=$$(deploy/setup/environment) && eval "$$lines"

.PHONY: run build test check fix bench

# Starts a broker: MQTT on 127.0.0.1:1883, the API on 127.0.0.1:18083, data in ./convoy-data.
run:
	@deploy/setup/packages build
	$(environment)
	cargo build --release --locked --bin convoy
	exec "$$CARGO_TARGET_DIR/release/convoy" serve $(ARGS)

build:
	@deploy/setup/packages build
	$(environment)
	cargo build --release --locked --bin convoy
	echo "$$CARGO_TARGET_DIR/release/convoy"

# Everything that judges a change: the checks, the tests beside the code, and whole processes under foreign clients.
test:
	@deploy/setup/packages build check test
	deploy/checks/verify
	$(environment)
	lines=$$(deploy/setup/clients) && eval "$$lines"
	cargo build --locked --bin convoy
	export CONVOY_BIN="$$CARGO_TARGET_DIR/debug/convoy"
	cargo test --workspace --locked $(ARGS)

check:
	@deploy/setup/packages build check
	deploy/checks/verify

fix:
	@deploy/setup/packages check
	deploy/checks/fix

bench:
	@deploy/setup/packages build
	$(environment)
	cargo bench --workspace --locked $(ARGS)

.ONESHELL:

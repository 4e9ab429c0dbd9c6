# cfs: `make demo` and `make test` do everything that a fresh machine needs.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup build install uninstall deb test-packages test-node demo unit test test-posix lint format bench fuzz clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

setup: ## packages of the system and of npm; quick if they are installed
	@scripts/setup build

build: setup ## compile to dist/
	@npm run --silent build

# where to install; DESTDIR is put before all paths, for packages
PREFIX ?= /usr/local
MOUNTDIR ?= /sbin
export PREFIX DESTDIR MOUNTDIR ZSHDIR

install: ## install what `make build` made: PREFIX=/usr/local, DESTDIR=, MOUNTDIR=/sbin for mount.cfs
	@scripts/install install

uninstall: ## remove what `make install` installed, with the same variables
	@scripts/install uninstall

deb: build ## a Debian package, in the current directory
	@scripts/deb

demo: ## pack a directory (SRC=DIR), mount it, compare, kill the server, show a corrupted object
	@scripts/demo check
	@$(MAKE) --no-print-directory build
	@scripts/demo $(if $(SRC),"$(SRC)")

test: build ## every test, with real mounts; the unit tests as an ordinary user, too (TESTS=… for some)
	@scripts/setup test
	@scripts/check-fuse
	@scripts/unit-as-user $(TESTS)
	@CFS_UNIT=$$([[ -n "$(TESTS)" || $$(id -u) -ne 0 ]] || echo root) npx vitest run $(TESTS)

test-posix: build ## long tests of writable mounts against POSIX: each random test for SECONDS=… (60)
	@scripts/setup posix
	@scripts/check-fuse
	@CFS_POSIX_SECONDS=$(or $(SECONDS),60) npx vitest run --project posix $(TESTS)
	@$(if $(TESTS),,CFS_KILLS=100 npx vitest run test/e2e/writable-survival.test.ts test/e2e/cfs-mount-rebase.test.ts \
	  test/e2e/store-faults.test.ts test/e2e/cfs-bench.test.ts test/e2e/changes.test.ts test/e2e/commit.test.ts \
	  test/unit/layered/upper-kills.test.ts test/unit/layered/upper-faults.test.ts)

test-packages: build ## install the Debian package in a fresh Debian 13, made by debootstrap; two minutes, as root
	@scripts/setup test
	@scripts/test-packages

test-node: build ## the unit tests, and the suite of both drivers, under node NODE=… (24), fetched from npm; as root
	@scripts/setup test
	@scripts/check-fuse
	@node=$$(scripts/other-node $(or $(NODE),24)); PATH=$${node%/node}:$$PATH; echo "node $$(node --version)"; \
	node node_modules/vitest/vitest.mjs run $(or $(TESTS),--project unit); \
	$(if $(TESTS),,node node_modules/vitest/vitest.mjs run test/e2e/filesystem.test.ts test/e2e/program-files.test.ts)

unit: setup ## the unit tests, without mounts and build: the fast loop (TESTS=… for some)
	@npx vitest run --project unit $(TESTS)

lint: build ## types of the tests, format, import directions
	@npm run --silent check

format: setup ## format the sources
	@npm run --silent format

bench: build ## a quick benchmark against other file systems, or ARGS='--source DIR …'; results in bench/results
	@scripts/setup bench
	@node dist/bench/cfs-bench.js $(or $(ARGS),--quick)

fuzz: build ## coverage-guided fuzzing, an hour each (SECONDS=…, TARGETS=…); inputs that reach new code are added to the corpus
	@scripts/fuzz-libc
	@KEEP=1 scripts/fuzz $(or $(SECONDS),3600) $(TARGETS)

clean: ## remove what was built
	@rm -rf dist dist.* node_modules

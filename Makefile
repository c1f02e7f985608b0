# Targets are named by what they make: `make help` lists them.

SHELL := /bin/sh
INSTALLDIR ?= /usr/local/bin
# For the manual page and the completions.
DATADIR ?= /usr/local/share
# Cargo features of the binary, as `BUILDTAGS="a b"`.
BUILDTAGS ?=

CARGO ?= cargo
# Scripts that no shell reads.
PYTHON := scripts/bench scripts/gen-syscalls scripts/layout $(wildcard scripts/*.py)
RELEASE := $(CARGO) build --release --locked -p kase $(if $(strip $(BUILDTAGS)),--features "$(BUILDTAGS)")
# What it is built for: scripts/target chooses, unless it is said.
TARGET ?= $(shell scripts/target --get)
# Who integrates: what was built here, or else what is installed.
KASE ?= $(or $(wildcard bin/kase),$(wildcard $(INSTALLDIR)/kase),$(error there is no bin/kase yet: make build/kase))
# What `kase integrate` is told; it has a default for each engine.
export CFGDIR INSTALLDIR PIDFILE
INTEGRATE = $(KASE) integrate $* --binary "$$INSTALLDIR/kase" $(if $(CFGDIR),--config-dir "$$CFGDIR") $(if $(PIDFILE),--pid-file "$$PIDFILE")
ONLY_ADD = $(if $(filter-out yes no,$(DEFAULT)),$(error DEFAULT is yes or no, not $(DEFAULT)))$(if $(filter no,$(DEFAULT)),--no-default)
# What scripts/chaos reads.
export CHAOS_SEED CHAOS_TIME POINT
# What scripts/soak and scripts/fuzz read.
export SOAK_SEED SOAK_TIME FUZZ_CORPUS FUZZ_INPUT FUZZ_TARGETS FUZZ_TIME

.DEFAULT_GOAL := help
.PHONY: help build/kase install/kase extras demo test test-setup test/chaos test/soak fuzz test/vm test/engines test/engines/vm bench bench/seccomp layout lint clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z/%-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build/kase: ## build bin/kase, one static file (BUILDTAGS="…" are cargo features)
	target=$(TARGET) && $(RELEASE) --target "$$target" && mkdir -p bin && \
		install -m 755 "$${CARGO_TARGET_DIR:-target}/$$target/release/kase" bin/kase

install/kase: build/kase ## install it to INSTALLDIR (/usr/local/bin), its manual and completions to DATADIR, below DESTDIR if set
	install -D -m 755 bin/kase "$(DESTDIR)$(INSTALLDIR)/kase"
	install -D -m 644 extras/man/kase.1 "$(DESTDIR)$(DATADIR)/man/man1/kase.1"
	install -D -m 644 extras/completions/kase.bash "$(DESTDIR)$(DATADIR)/bash-completion/completions/kase"
	install -D -m 644 extras/completions/_kase "$(DESTDIR)$(DATADIR)/zsh/site-functions/_kase"
	install -D -m 644 extras/completions/kase.fish "$(DESTDIR)$(DATADIR)/fish/vendor_completions.d/kase.fish"

integrate/%: ## register kase with docker, docker-rootless, podman, containerd or crio (CFGDIR=…, DEFAULT=no only adds it)
	@$(INTEGRATE) $(ONLY_ADD)

cleanup/%: ## take exactly that out again (with the same CFGDIR)
	@$(INTEGRATE) --remove

extras: ## write the manual page and the completions anew, after a change of the command line
	KASE_EXTRAS=write $(CARGO) test --locked -p kase --bin kase cli::documents
	KASE_EXTRAS=write $(CARGO) test --locked -p structure security::

demo: build/kase ## run a container as an ordinary user, image and all, without a registry
	scripts/demo

test: test-setup ## run every test, as root and as an ordinary user where both are possible
	scripts/test

test-setup: ## make what the tests use: packages and users if root, else say what is missing
	scripts/test-setup

test/chaos: ## let system calls of every command fail and kill it at them, for CHAOS_TIME seconds (POINT="…" repeats one)
	scripts/chaos

test/soak: ## make and end containers by several workers for SOAK_TIME seconds, and count what is there before and after
	scripts/soak

fuzz: ## feed what reads others' files and messages, FUZZ_TIME seconds a target (FUZZ_TARGETS="…", FUZZ_CORPUS=… of config.json files)
	scripts/fuzz

test/vm: ## run the cgroup tests in a virtual machine with systemd and cgroup v2 (the first time takes minutes)
	scripts/vm test

test/engines: build/kase ## run containers under Docker, containerd, Podman and buildah, with runc, crun and kase (needs root)
	scripts/engines $(ENGINES)

test/engines/vm: build/kase ## run Docker and Podman as units and users of a virtual machine with systemd, and quadlet (needs root)
	scripts/engines --vm $(ENGINES)

bench: ## measure kase beside runc, crun and the kernel's own work, about half an hour (scripts/bench tells what narrows it)
	scripts/bench

bench/seccomp: ## time kase's system call filters beside libseccomp's, for the engines' profiles
	scripts/bench-seccomp

layout: ## write anew in which order the linker puts kase's code (needs root; some minutes)
	scripts/layout

lint: ## format, clippy, how the files hang together (tests/structure), scripts
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked --release -p kase --target "$$(scripts/target)" -- -D warnings
	RUSTFLAGS='--cfg fuzzing -A dead_code' $(CARGO) clippy --locked -p kase --bin kase --target-dir "$${CARGO_TARGET_DIR:-target}/fuzz-lint" -- -D warnings -A dead_code
	rustfmt --edition 2024 --check tests/fuzz/main.rs tests/fuzz/targets/mod.rs
	$(CARGO) test --locked -q -p structure
	@if command -v shellcheck >/dev/null; then shellcheck .ci/run $(filter-out %.rs %.ld $(PYTHON),$(wildcard scripts/*)); else echo "lint: no shellcheck here, shell scripts unchecked"; fi
	@if command -v python3 >/dev/null; then python3 -c 'import sys; [compile(open(f).read(), f, "exec") for f in sys.argv[1:]]' $(PYTHON); else echo "lint: no python3 here, $(PYTHON) unchecked"; fi

clean: ## remove what was built
	$(CARGO) clean
	rm -rf bin .test

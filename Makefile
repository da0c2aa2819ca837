# Needs Go and nothing else: PostgreSQL for the demo and the tests is found or
# fetched by internal/devpg.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:

GO ?= go
# The race detector needs a C compiler and the headers of its library.
HASH := \#
RACE ?= $(shell printf '$(HASH)include <stdlib.h>\n' | $$($(GO) env CC) -x c -fsyntax-only - 2>/dev/null && echo -race)
PKG ?=
# Tests of a whole control plane under faults: without the race detector, which
# has seen the same code in the tests of its parts, and makes these take minutes more.
WHOLE = /controlplane/daemon$$|/internal/chaos$$|/cmd/manor$$
# Histories of a rollout on one thread: the race detector finds nothing in them,
# and makes seconds minutes.
SIMULATED = ^TestSimulation
# A package has this long; the first one may have to fetch PostgreSQL.
TIMEOUT ?= 15m
# Most tests wait for servers and for each other: more at a time than cores.
PARALLEL ?= 4
GENERATED := ent docs/openapi.json docs/strategy.schema.json cmd/manor/cli/strategy.schema.json docs/states.md
# In a checkout that belongs to another user git answers nothing, and go build
# would fail rather than leave the commit out.
ifneq ($(shell git rev-parse HEAD >/dev/null 2>&1 || echo none),)
export GOFLAGS := $(GOFLAGS) -buildvcs=false
endif

.PHONY: demo
demo: build ## the main job before your eyes, on PostgreSQL servers of its own
	$(GO) run ./internal/demo -manor bin/manor

TEST = $(if $(PG),MANOR_TEST_PG=$(PG)) $(GO) test -parallel $(PARALLEL) -timeout $(TIMEOUT) $(if $(RUN),-run '$(RUN)')

.PHONY: test
test: ## the tests, with -race (not the whole planes) where there is a C compiler [PG=18] [PKG=./controlplane/pg] [RUN=TestName]
	$(TEST) $(RACE) $(if $(PKG)$(RUN),,-skip '$(SIMULATED)') $(if $(PKG),$(PKG),$$($(GO) list ./... | grep -vE '$(WHOLE)'))
	$(if $(PKG),,$(TEST) $$($(GO) list ./... | grep -E '$(WHOLE)'))
	$(if $(PKG)$(RUN),,$(TEST) -run '$(SIMULATED)' ./controlplane/rollout)

.PHONY: check
check: check-fmt check-vet check-staticcheck check-arch check-tidy check-generated ## gofmt, vet, staticcheck, import rules, go.mod tidy, generated code current

.PHONY: check-fmt check-vet check-staticcheck check-arch check-tidy check-generated
check-fmt:
	@bad=$$(gofmt -l .); test -z "$$bad" || { echo "not formatted (make fmt):"; echo "$$bad"; exit 1; }

check-vet:
	$(GO) vet ./...

check-staticcheck:
	$(GO) tool staticcheck ./...

check-arch:
	$(GO) test ./internal/arch

check-tidy:
	@$(GO) mod tidy -diff || { echo "go.mod or go.sum is not tidy: go mod tidy"; exit 1; }

# Generates in place, so that a failure needs no more than a commit. It compares
# with what was there rather than with git, so that work in progress passes.
SUMS = find $(GENERATED) -type f -exec cksum {} + | sort -k 3
check-generated:
	@set -e; tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; $(SUMS) >"$$tmp/before"; \
	echo '$(GO) generate ./...'; $(GO) generate ./...; $(SUMS) >"$$tmp/after"; \
	diff "$$tmp/before" "$$tmp/after" || { echo 'generated code was not current; it is now: commit it'; exit 1; }
	$(GO) run ./internal/catalogdiff -check

.PHONY: generate
generate: ## code from ent/schema, the API's document and the drawn states; NAME=add_labels writes the catalog's next migration
	$(GO) generate ./...
	$(GO) run ./internal/catalogdiff $(if $(NAME),$(NAME),-check)

.PHONY: build
build: ## bin/manor
	$(GO) build -o bin/manor ./cmd/manor

.PHONY: bench
bench: ## 200 tenants by two versions, through the engine and as raw pgx, three times
	$(if $(PG),MANOR_TEST_PG=$(PG)) $(GO) test -run '^$$' -bench '^BenchmarkApply$$' -benchtime 1x -count 3 -timeout $(TIMEOUT) ./controlplane/migrator

# Minutes of random kills, which of the points to die at (1 is every one), and
# whether to die at pairs of them, too (empty: no).
CHAOS_MINUTES ?= 10
CHAOS_EVERY ?= 1
CHAOS_PAIRS ?= $(filter 1,$(CHAOS_EVERY))
CHAOS = $(if $(PG),MANOR_TEST_PG=$(PG)) CHAOS_MINUTES=$(CHAOS_MINUTES) MANOR_TEST_CRASH_EVERY=$(CHAOS_EVERY) CHAOS_PAIRS=$(CHAOS_PAIRS) \
	$(GO) test -v -count 1 -parallel $(PARALLEL) -timeout 6h ./internal/chaos

.PHONY: chaos
chaos: ## workers killed at every point and statement, then ten minutes at random [CHAOS_MINUTES=10] [SEED=42]
	$(CHAOS) -skip Random
	$(CHAOS) -run Random $(if $(SEED),-seed $(SEED))

.PHONY: fmt
fmt: ## gofmt over everything
	gofmt -l -w .

.PHONY: clean
clean: ## what make left behind
	rm -rf bin
	$(GO) clean -testcache

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

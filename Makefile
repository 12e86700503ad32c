# make test is what the README promises; its steps can be made one by one. CGO is off in everything that ships and in
# the tests; only the race detector needs it.
export CGO_ENABLED = 0

.NOTPARALLEL:
.PHONY: help test prerequisites fmt vet staticcheck unit race build quickstart bench soak clean

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

test: prerequisites fmt vet staticcheck unit race ## everything that must pass before a change lands
	@echo "all tests passed"

prerequisites: ## install what the tests need (Debian, as root), else say what is missing
	@scripts/prerequisites

fmt:
	@files=$$("$$(go env GOROOT)/bin/gofmt" -l .) || exit 1; if [ -n "$$files" ]; then echo "not formatted by gofmt:"; echo "$$files"; exit 1; fi

vet:
	go vet ./...

staticcheck: ## the linter, at the version of internal/tools/go.mod
	go tool -modfile=internal/tools/go.mod staticcheck ./...

# The packages that take longest begin first, so that none of them works alone in the end. vet has run already.
unit: ## all tests
	go run ./internal/gotest -vet=off -timeout 30m ./repo ./backup ./caddyfile_test ./handler ./...

# The long suites have run without the race detector; here the short ones look for races.
race: ## the tests of the engine again, with the race detector
	@if command -v gcc >/dev/null; then \
		CGO_ENABLED=1 go run ./internal/gotest -vet=off -race -short -timeout 30m ./repo/... ./backup/... ./handler ./storage/... ./fsnode ./archive; \
	elif [ -n "$$CI" ]; then echo "the race detector needs gcc" >&2; exit 1; \
	else echo "NOT TESTED: the race detector needs gcc"; fi

build: ## ./caddy: Caddy with this plugin
	go build -trimpath -ldflags='-s -w' -tags nobadger,nomysql,nopgx -o caddy ./cmd/caddy

quickstart: ## the main job on a small shop, in a minute
	go run ./examples/quickstart

bench: ## measure beside restic; writes bench/README.md
	go run ./bench -out bench/README.md

soak: ## every fuzz target for FUZZTIME (60s) each, then all tests COUNT (5) times in random order, the long ones (SOAK=1) too
	scripts/soak

clean:
	rm -rf caddy quickstart-data

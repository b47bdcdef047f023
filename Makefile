# Everything runs module by module (.ci/each) and needs only Go. Scripts are
# called through sh: a source archive may have lost their executable bits.

LINT_VERSION = v2.15.0
LINT         = .tools/$(LINT_VERSION)/golangci-lint
FUZZTIME     = 10s
COVER_MIN    = 90

EACH = sh "$(CURDIR)/.ci/each"

ZITADEL_VERSION = v3.51.17
ZITADEL         = .tools/zitadel-oidc-$(ZITADEL_VERSION)/server
NODE_MODULES    = interop/oidc-provider/node_modules/.package-lock.json
INTEROP         = .tools/interop

.PHONY: test lint fuzz cover torture bench bench-report simulate mutations compare interop

# Building runtime/cgo for the race detector is the honest question whether it
# works here: it needs cgo, a C compiler, its headers, and a platform that has it.
test:
	@race=-race; \
	go build -race runtime/cgo 2>/dev/null || \
		{ race=; echo "make test: no C compiler or no cgo: without -race"; }; \
	$(EACH) sh -c "go vet ./... && go test -shuffle=on $$race ./..."

# golangci-lint runs for this system; go vet also compiles the others' files.
lint: $(LINT)
	@files=$$(gofmt -l .) && [ -z "$$files" ] || { echo "gofmt: not formatted: $$files"; exit 1; }
	$(EACH) go mod tidy -diff
	@for mod in $$(find . -name '.?*' -prune -o -name testdata -prune -o -name node_modules -prune -o -name go.mod -print); do \
		grep -Fqx "$$(printf '\t%s' "$$(dirname $$mod)")" go.work || { echo "go.work: not in it: go work use $$(dirname $$mod)"; exit 1; }; \
	done
	@for os in linux darwin windows; do \
		echo "go vet, $$os"; $(EACH) env GOOS=$$os go vet ./... || exit 1; \
	done
	$(EACH) "$(CURDIR)/$(LINT)" run --config "$(CURDIR)/.golangci.yml"

# Kept in a folder that git ignores, so that it is built once; the version in
# its path makes a new pin build anew. Not a tool line in go.mod: that would put
# the linter's hundreds of modules into every importer's graph.
$(LINT):
	GOBIN="$(CURDIR)/$(dir $(LINT))" go install \
		github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

# Against real servers, in a network namespace with nothing but loopback; what
# they need is brought here before. Cases run side by side, in less than 3 minutes.
interop: $(ZITADEL) $(NODE_MODULES)
	GOWORK=off go build -o $(INTEROP)/matching ./examples/server
	GOWORK=off go build -C interop -o "$(CURDIR)/$(INTEROP)/" . ./proof
	sh interop/loopback.sh $(INTEROP)/proof -zitadel $(ZITADEL) -oidc-provider interop/oidc-provider \
		-matching $(INTEROP)/matching -probe $(INTEROP)/interop -run '$(RUN)'

# Installed like the linter, and not a tool line in interop/go.mod: it wants a
# newer Go than this repository, and go.work would want that of everybody.
$(ZITADEL):
	GOBIN="$(CURDIR)/$(dir $(ZITADEL))" go install \
		github.com/zitadel/oidc/v3/example/server@$(ZITADEL_VERSION)

$(NODE_MODULES): interop/oidc-provider/package-lock.json
	@node -e 'const [a, b] = process.versions.node.split("."); process.exit(a < 20 || a == 20 && b < 12 ? 1 : 0)' || \
		{ echo "make interop: this Node is older than 20.12"; exit 1; }
	cd interop/oidc-provider && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

fuzz:
	@$(EACH) sh "$(CURDIR)/.ci/fuzz" $(FUZZTIME)

# The root package as all tests of its module exercise it: its own, and those of
# the issuers, evertest and the examples, which drive it over a connection.
cover:
	GOWORK=off go test -coverpkg=. -coverprofile=coverage.out ./...
	@go tool cover -func=coverage.out | awk -v min=$(COVER_MIN) \
		'/^total:/ { print "root package: " $$3; ok = $$3 + 0 >= min } \
		END { if (!ok) { print "make cover: less than " min "%"; exit 1 } }'

# Six processes on one session, killed and frozen, on every store, whose server is
# killed as well: until each has made so many renewals.
RENEWALS = 2000
torture:
	cd examples/fleet && GOWORK=off EVERTOKEN_REQUIRE_SERVERS=1 go test -run Torture -v -timeout 90m . -args -renewals $(RENEWALS)

# What a request and an expiry cost beside other clients, and a renewal at each
# store: ratios within one run. bench-report writes bench/REPORT.md of it.
bench:
	cd bench && GOWORK=off go run .

bench-report:
	cd bench && GOWORK=off go run . -report .

# New worlds of the simulation for DURATION, and what happened in them. One in
# which something was wrong ends it, and tells the command that shows it again.
DURATION = 1m
simulate:
	GOWORK=off go test ./internal/sim -run Simulate -seed $$(date +%s) -duration $(DURATION) -timeout 0 -v

# Breaks the product in every way that the simulation is known to find.
mutations:
	GOWORK=off go test ./internal/sim -run Mutations -mutations -timeout 0 -v

# The same worlds with the ways in which others renew: sessions lost.
WORLDS = 40
compare:
	GOWORK=off go test ./internal/sim -run Compare -seed 1 -compare $(WORLDS) -timeout 0 -v

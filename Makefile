# Everything runs module by module (.ci/each) and needs only Go. Scripts are
# called through sh: a source archive may have lost their executable bits.

LINT_VERSION = v2.15.0
LINT         = .tools/$(LINT_VERSION)/golangci-lint
FUZZTIME     = 10s
COVER_MIN    = 90

EACH = sh "$(CURDIR)/.ci/each"

.PHONY: test lint fuzz cover

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

fuzz:
	@$(EACH) sh "$(CURDIR)/.ci/fuzz" $(FUZZTIME)

# The root package as all tests of its module exercise it: its own, and those of
# the issuers, evertest and the examples, which drive it over a connection.
cover:
	GOWORK=off go test -coverpkg=. -coverprofile=coverage.out ./...
	@go tool cover -func=coverage.out | awk -v min=$(COVER_MIN) \
		'/^total:/ { print "root package: " $$3; ok = $$3 + 0 >= min } \
		END { if (!ok) { print "make cover: less than " min "%"; exit 1 } }'

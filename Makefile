# Each target does the set-up that it needs.
export CGO_ENABLED ?= 0

bin = bin/bot-bottle

.PHONY: all build setup demo test soak chaos lint check bench release clean

all: build

build:
	go build -trimpath -ldflags=-s -o $(bin) ./cmd/bot-bottle

setup:
	scripts/setup

demo: setup build
	go run ./test/demo $(bin)

# The hermetic tests run with the race detector; those with a real engine beside them.
test: build
	scripts/setup --test
	scripts/test

# A minute and more of mixed traffic through egress, which must leave nothing behind.
soak:
	go test ./internal/sidecar/egress -run TestSoak -count=1 -v -soak=75s

# Hundreds of seeded schedules in which everything dies, of which make test runs a few.
chaos: build
	scripts/setup --test
	BOT_BOTTLE_REQUIRE=docker go test ./test/e2e -run TestAttackJ5_Chaos -count=1 -timeout 0 -v -chaos=300

bench: build
	scripts/setup --bench
	go run ./test/bench -bin $(bin) -area "$(BENCH)"

lint:
	test -z "$$(gofmt -l .)"
	go vet ./...
	GOOS=darwin go vet ./cmd/... ./internal/...

# What needs the network, or time: known holes in dependencies, a second linter, a while of each
# fuzzer, the tests with every dependency at its latest, two builds of a release compared.
check:
	scripts/check

release:
	scripts/release $(VERSION)

clean:
	rm -rf bin dist bench.json internal/cli/guest

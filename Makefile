# Everything here is a plain command that also works without make; nothing
# needs more than Go unless its line names it.

GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

.DEFAULT_GOAL := help

.PHONY: help
help: ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: ## bring up the whole product: http://127.0.0.1:8080
	go run ./cmd/millrace

.PHONY: demo
demo: ## play the main job from end to end and check it
	go run ./cmd/millrace demo

.PHONY: build
build: ## build the program into .build/
	CGO_ENABLED=0 go build -trimpath -o .build/ ./cmd/millrace

.PHONY: test
test: ## run the default tests, some minutes; they bring their own PostgreSQL
	go test ./...

.PHONY: test-all
test-all: ## run every suite, as the gate does (needs Java 17; Maven and Python the first time; half an hour)
	.ci/run

.PHONY: race
race: ## run the default and the slow tests with the race detector
	go test -race -tags slow -timeout 40m ./...

.PHONY: fuzz
fuzz: ## look for bad input that is not refused, a minute for each target (the seeds run with the tests)
	go test -run=NONE -fuzz=FuzzCallback -fuzztime=60s -fuzzminimizetime=10x ./modules/payment/gateway
	go test -run=NONE -fuzz=FuzzEnvelope -fuzztime=60s -fuzzminimizetime=10x ./platform/bus
	go test -run=NONE -fuzz=FuzzParseOrders -fuzztime=60s -fuzzminimizetime=10x ./cmd/millrace/demo

.PHONY: stock
stock: ## run the stock parts that were replaced: do they still break what is promised? Notes the versions when green (needs Java 17)
	go test -count=1 -tags stock ./test/stock
	go test -count=1 -tags stock,kafka ./test/stock -run Apache # Maven the first time
	.ci/stock-versions > test/stock/verified.versions
	sha256sum test/stock/*.go > test/stock/verified.sum

.PHONY: kafka-away
kafka-away: ## take the brokers away for five minutes, under load (the tests do it for one; needs Java 17)
	MILLRACE_KAFKA_AWAY=5m go test -tags kafka -timeout 15m -v ./test/kafka -run AwayForAMinute

.PHONY: promises
promises: ## run both sides of every promise, and write their table in docs/watermill.md (minutes; needs Java 17)
	go test ./test/readme -run Promises -update-promises

.PHONY: model
model: ## play many random programs on the bus, and compare with the model of its promises (some ten minutes)
	go test -tags slow -timeout 60m ./test/model -rapid.checks=100

.PHONY: arch
arch: ## check the architecture rules
	go test ./test/arch

.PHONY: order
order: ## list the ceilings of backward calls and methods, lowered to what is left
	go test ./test/arch -run Order -update-order
	@cat test/arch/order.txt

.PHONY: generate
generate: ## write the files that are derived from the list of modules
	go test ./test/arch -run Migration -add-migrations
	go test ./cmd/millrace/app -run Presets -update
	go test ./test/roles -run Matrix -update
	go test ./test/readme -run MessageMap -update

.PHONY: fmt
fmt: ## format the sources
	gofmt -w cmd config modules platform test

.PHONY: lint
lint: .build/golangci-lint ## run the linters of .golangci.yml (the first time builds them: minutes)
	.build/golangci-lint run

.build/golangci-lint:
	GOBIN=$(CURDIR)/.build go install $(GOLANGCI)

.PHONY: ci
ci: ## run the whole gate, as the server does
	.ci/run

.PHONY: up
up: ## the product, PostgreSQL and a mail catcher in containers (needs Docker)
	MILLRACE_COMMIT=$$(git rev-parse HEAD) docker compose up --build

.PHONY: kafka
kafka: ## run a Kafka broker until Ctrl-C (needs Java 17; Maven the first time)
	go run ./test/broker/cmd

.PHONY: wipe
wipe: ## remove what the program keeps on this machine
	rm -rf .data

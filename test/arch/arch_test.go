package arch

import (
	"os"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// TestRules_HoldInThisRepository checks this very repository.
func TestRules_HoldInThisRepository(t *testing.T) {
	t.Parallel()
	house, err := load(os.DirFS("../.."))
	require.NoError(t, err)
	require.Greater(t, len(house.sources), 50, "the sources were found")
	require.NotEmpty(t, house.modules())
	for name, rule := range rules {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, found := range check(house, rule) {
				t.Error(found)
			}
		})
	}
}

// planted are violations: the rule, and a tree that breaks it.
var planted = []struct {
	rule, what string
	files      map[string]string
}{
	{"platform knows no module", "a platform package imports a contract", map[string]string{
		"platform/bus/bus.go": `package bus; import _ "millrace/modules/payment/paymentapi"`}},
	{"platform knows no module", "a platform test imports a module", map[string]string{
		"platform/bus/bus_test.go": `package bus; import _ "millrace/modules/payment"`}},
	{"platform knows no module", "a platform package reads the configuration", map[string]string{
		"platform/web/web.go": `package web; import _ "millrace/config"`}},
	{"tests watch their own database", "all locks of the server", map[string]string{
		"platform/bus/bus_test.go": "package bus; const waiting = `SELECT count(*) FROM pg_locks WHERE NOT granted`"}},
	{"imports go one way", "the web server imports the bus", map[string]string{
		"platform/web/web.go": `package web; import _ "millrace/platform/bus"`}},
	{"imports go one way", "the bus imports a transport", map[string]string{
		"platform/bus/bus.go": `package bus; import _ "millrace/platform/bus/sqltransport"`}},
	{"the SQL of the bus is in its store", "the engine reads a table", map[string]string{
		"platform/bus/engine/batch.go": "package engine; const q = `SELECT committed_offset FROM offsets`"}},
	{"contracts import the standard library only", "a contract imports the bus", map[string]string{
		"modules/payment/paymentapi/events.go": `package paymentapi; import _ "millrace/platform/bus"`}},
	{"contracts import the standard library only", "a contract imports a library", map[string]string{
		"modules/payment/paymentapi/events.go": `package paymentapi; import _ "github.com/google/uuid"`}},
	{"modules meet in contracts only", "a module calls another", map[string]string{
		"modules/delivery/service.go": `package delivery; import _ "millrace/modules/payment"`}},
	{"modules meet in contracts only", "a module's test calls another", map[string]string{
		"modules/delivery/service_test.go": `package delivery_test; import _ "millrace/modules/payment"`}},
	{"modules meet in contracts only", "a module imports a part of another", map[string]string{
		"modules/delivery/service.go": `package delivery; import _ "millrace/modules/payment/gateway"`}},
	{"modules meet in contracts only", "a module imports the composition root", map[string]string{
		"modules/delivery/service.go": `package delivery; import _ "millrace/cmd/millrace/app"`}},
	{"modules know no transport", "an import", map[string]string{
		"modules/payment/store.go": `package payment; import _ "millrace/platform/bus/deadletter"`}},
	{"modules know no transport", "a library", map[string]string{
		"modules/payment/store_test.go": `package payment; import _ "github.com/IBM/sarama"`}},
	{"modules know no transport", "an identifier", map[string]string{
		"modules/payment/handlers.go": `package payment; func f() bool { return onKafka }`}},
	{"modules know no transport", "a table of the bridge's", map[string]string{
		"modules/payment/migrations/00001_payment.sql": `CREATE VIEW sent AS SELECT * FROM outbox`}},
	{"only cmd and tests import a module's door", "the configuration knows a module", map[string]string{
		"config/config.go": `package config; import _ "millrace/modules/payment"`}},
	{"only cmd and tests import a module's door", "a part of a module imports the whole", map[string]string{
		"modules/payment/gateway/gateway.go": `package gateway; import _ "millrace/modules/payment"`}},
	{"production code needs no test tools", "testing", map[string]string{
		"platform/bus/bus.go": `package bus; import _ "testing"`}},
	{"production code needs no test tools", "a package made for tests", map[string]string{
		"platform/bus/bus.go": `package bus; import _ "millrace/platform/postgres/pgtest"`}},
	{"production code needs no test tools", "the tests of the whole product", map[string]string{
		"cmd/millrace/main.go": `package main; import _ "millrace/test/arch"`}},
	{"only the door of a module is exported", "a type", map[string]string{
		"modules/payment/payment.go": `package payment; type Payment struct{}`}},
	{"only the door of a module is exported", "a function", map[string]string{
		"modules/payment/payment.go": `package payment; func Pay() {}`}},
	{"only the door of a module is exported", "a variable", map[string]string{
		"modules/payment/payment.go": `package payment; var ErrPaid error`}},
	{"modules keep their parts in the same files", "no contract", map[string]string{
		"modules/payment/module.go": `package payment; func (m *Module) Name() string { return "payment" }; func (m *Module) Publishes() []bus.Event { return []bus.Event{paymentapi.Completed{}} }`}},
	{"modules keep their parts in the same files", "operations elsewhere", map[string]string{
		"modules/payment/module.go": `package payment; func (m *Module) Name() string { return "payment" }; func (*Module) Routes(huma.API) {}`}},
	{"modules keep their parts in the same files", "no Module", map[string]string{
		"modules/payment/payment.go": `package payment`}},
	{"modules keep their parts in the same files", "migrations elsewhere", map[string]string{
		"modules/payment/module.go":                    `package payment; func (m *Module) Name() string { return "payment" }`,
		"modules/payment/gateway/migrations/00001.sql": ``}},
	{"the folder listing shows the house", "a folder at the top", map[string]string{
		"pkg/pkg.go": `package pkg`}},
	{"the folder listing shows the house", "a file at the top", map[string]string{
		"NOTES.md": ``}},
	{"the folder listing shows the house", "a document that is not listed", map[string]string{
		"docs/notes.md": ``}},
	{"the folder listing shows the house", "a name that says nothing", map[string]string{
		"platform/util/util.go": `package util`}},
	{"every package says what it is", "no comment", map[string]string{
		"platform/bus/bus.go": `package bus`}},
	{"every package says what it is", "a comment about something else", map[string]string{
		"platform/bus/bus.go": "// Copyright.\npackage bus"}},
	{"files are short", "401 lines", map[string]string{
		"platform/bus/bus.go": "package bus\n" + lines(400)}},
	{"a module's SQL names no schema", "another's table in Go", map[string]string{
		"modules/payment/store.go":  "package payment; const q = `SELECT 1 FROM delivery.delivery`",
		"modules/delivery/store.go": `package delivery`}},
	{"a module's SQL names no schema", "its own schema in a migration", map[string]string{
		"modules/payment/migrations/00001_payment.sql": `CREATE TABLE payment.charge (id uuid)`}},
	{"a module's SQL names no schema", "the search path", map[string]string{
		"modules/payment/store.go": "package payment; const q = `SET search_path = delivery`"}},
	{"handlers touch nothing but their transaction", "HTTP in a handler", map[string]string{
		"modules/payment/handlers.go": `package payment; import _ "net/http"`}},
	{"handlers touch nothing but their transaction", "mail in a handler", map[string]string{
		"modules/payment/handlers.go": `package payment; import _ "millrace/platform/mail"`}},
	{"a message is named after its owner", "another's name", map[string]string{
		"modules/payment/paymentapi/events.go": `package paymentapi; func (C) EventName() string { return "delivery.shipped" }`}},
	{"a message is named after its owner", "outside the contract", map[string]string{
		"modules/payment/payment.go": `package payment; func (c) EventName() string { return "payment.completed" }`}},
	{"tests neither sleep nor skip", "a pause", map[string]string{
		"platform/bus/bus_test.go": `package bus; import "time"; func f() { time.Sleep(1) }`}},
	{"tests neither sleep nor skip", "a skip", map[string]string{
		"platform/bus/bus_test.go": `package bus; func f(t T) { t.Skip() }`}},
	{"nothing is left undone in words", "work that is meant to be done", map[string]string{
		"platform/bus/bus.go": "package bus // TO" + "DO: all of it"}},
	{"what runs with its owner's rights is not public", "a function without REVOKE", map[string]string{
		"platform/bus/migrations/00009_new.sql": "CREATE FUNCTION f() RETURNS void LANGUAGE sql SECURITY DEFINER AS ''; REVOKE ALL ON FUNCTION f FROM somebody"}},
	{"no text switches encryption off", "advice in an error", map[string]string{
		"platform/bus/bus.go": `package bus; var err = "the server speaks no TLS: write sslmode=disable"`}},
	{"no text switches encryption off", "advice to correct the setting", map[string]string{
		"platform/bus/bus.go": `package bus; var fix = "let it offer STARTTLS, or correct mail.smtp.tls"`}},
	{"commands print through the printer", "fmt to a writer", map[string]string{
		"cmd/millrace/trace.go": `package main; import ("fmt"; "io"); func f(w io.Writer) { fmt.Fprintln(w, "x") }`}},
	{"commands print through the printer", "the standard output in a part of a command", map[string]string{
		"cmd/millrace/demo/run.go": `package demo; import "os"; var out = os.Stdout`}},
	{"commands print through the printer", "a table of its own", map[string]string{
		"cmd/millrace/listing.go": `package main; import "text/tabwriter"; var t tabwriter.Writer`}},
	{"commands print through the printer", "JSON to a writer", map[string]string{
		"cmd/millrace/demo.go": `package main; import ("encoding/json"; "io"); func f(w io.Writer) { json.NewEncoder(w).Encode(1) }`}},
	{"commands print through the printer", "a built-in", map[string]string{
		"cmd/millrace/demo.go": `package main; func f() { println(1) }`}},
	{"words are those of the glossary", "an identifier", map[string]string{
		"platform/bus/bus.go": `package bus; var unH` + `eard int`}},
	{"words are those of the glossary", "a comment", map[string]string{
		"platform/bus/bus.go": "package bus // it s" + "ays so"}},
	{"words are those of the glossary", "a log line", map[string]string{
		"platform/bus/bus.go": `package bus; var line = "put as` + `ide"`}},
	{"words are those of the glossary", "the name of a test", map[string]string{
		"platform/bus/bus_test.go": `package bus; func TestItT` + `ells() {}`}},
	{"words are those of the glossary", "one more than before", map[string]string{
		"platform/bus/bus.go": `package bus; var s` + `aid, h` + `eard int`, ceilings: "platform/bus 1\n"}},
	{"words are those of the glossary", "a ceiling that is too high", map[string]string{
		"platform/bus/bus.go": `package bus; var s` + `aid int`, ceilings: "platform/bus 2\n"}},
	{"no path of somebody's machine is in the repository", "a home folder", map[string]string{
		"README.md": "see /ho" + "me/kim/notes"}},
}

func lines(n int) string {
	all := make([]byte, n)
	for i := range all {
		all[i] = '\n'
	}
	return string(all)
}

// TestRules_FailOnPlantedViolations plants each violation, and also sees that every rule
// has one.
func TestRules_FailOnPlantedViolations(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, p := range planted {
		seen[p.rule] = true
		t.Run(p.rule+": "+p.what, func(t *testing.T) {
			t.Parallel()
			files := fstest.MapFS{}
			for name, text := range p.files {
				files[name] = &fstest.MapFile{Data: []byte(text)}
			}
			bad, err := load(files)
			require.NoError(t, err)
			require.NotEmpty(t, check(bad, rules[p.rule]))
		})
	}
	for name := range rules {
		require.True(t, seen[name], "no violation of %q was planted", name)
	}
}

// TestRules_AcceptGoodTree guards against rules that are always red.
func TestRules_AcceptGoodTree(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{}
	for name, text := range map[string]string{
		"platform/bus/bus.go":                          "// Package bus is one.\npackage bus; import _ \"context\"",
		"platform/bus/bustest/bustest.go":              "// Package bustest is one.\npackage bustest; import (_ \"testing\"; _ \"millrace/platform/bus\")",
		"modules/payment/module.go":                    "// Package payment is one.\npackage payment; type Module struct{}; type Config struct{}; func New() *Module { return nil }; func (m *Module) Name() string { return `payment` }; func (m *Module) Publishes() []bus.Event { return []bus.Event{nil} }",
		"modules/payment/payment.go":                   "package payment; type reason string; func (r reason) String() string { return `update to payment.completed` }",
		"modules/payment/service.go":                   "package payment; import _ \"millrace/modules/payment/gateway\"",
		"modules/payment/store.go":                     "package payment; const q = `SELECT c.id FROM charge c JOIN payment p ON c.id = p.id`",
		"modules/payment/http.go":                      "package payment; import _ \"millrace/platform/web\"",
		"modules/payment/handlers.go":                  "package payment; import _ \"millrace/modules/delivery/deliveryapi\"",
		"modules/payment/handlers_test.go":             "package payment_test; import (_ \"millrace/modules/payment\"; _ \"millrace/platform/bus/bustest\")",
		"modules/payment/gateway/gateway.go":           "// Package gateway is one.\npackage gateway",
		"modules/payment/migrations/00001_payment.sql": "CREATE TABLE payment (id uuid)",
		"modules/loyalty/module.go":                    "// Package loyalty is one.\npackage loyalty; type Module struct{}; func (Module) Name() string { return `loyalty` }",
		"modules/payment/paymentapi/doc.go":            "// Package paymentapi is one.\npackage paymentapi",
		"modules/payment/paymentapi/events.go":         "package paymentapi; import _ \"time\"; func (C) EventName() string { return \"payment.completed\" }",
		"cmd/millrace/main.go":                         "// Command millrace is one.\npackage main; import _ \"millrace/modules/payment\"",
		"README.md":                                    "run it",
	} {
		files[name] = &fstest.MapFile{Data: []byte(text)}
	}
	good, err := load(files)
	require.NoError(t, err)
	for name, rule := range rules {
		require.Empty(t, check(good, rule), name)
	}
}

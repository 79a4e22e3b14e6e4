package demo

import (
	"bytes"
	"context"
	"database/sql"
	"io"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"millrace/cmd/millrace/terminal"
	"millrace/config"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

// optionsOf are the options of a small run on the tests' server.
func optionsOf(t *testing.T, count int) Options {
	t.Helper()
	cfg := config.Default()
	cfg.DataDir, cfg.Log.Level = t.TempDir(), "warn"
	server := pgtest.URL(t)
	cfg.Database.URL = config.Secret(server)
	t.Cleanup(func() { dropDemo(t, server) })
	return Options{Count: count, Seed: 1, Version: "test", Config: cfg, Out: terminal.New(io.Discard), Bar: io.Discard}
}

// dropDemo drops the database that a demo created on server.
func dropDemo(t *testing.T, server string) {
	u, err := url.Parse(server)
	require.NoError(t, err)
	db, err := postgres.Open(context.Background(), postgres.Config{URL: server, MaxConns: 1})
	require.NoError(t, err)
	_, err = db.ExecContext(context.Background(), "DROP DATABASE IF EXISTS "+pq.QuoteIdentifier(filepath.Base(u.Path)+"_demo")+" WITH (FORCE)")
	require.NoError(t, err)
	require.NoError(t, db.Close())
}

// played is a run whose program has stopped, so that its evidence no longer changes.
type played struct {
	*running
	orders        []order
	consultations []consultation
	printed       *bytes.Buffer
}

// playSmall plays count orders to the end. The statements in plant run before the
// first order.
func playSmall(t *testing.T, count int, plant ...string) *played {
	t.Helper()
	p := &played{printed: &bytes.Buffer{}}
	o := optionsOf(t, count)
	o.Out = terminal.New(p.printed)
	var err error
	p.orders, err = loadOrders("", count)
	require.NoError(t, err)
	p.consultations, err = loadConsultations(share(count))
	require.NoError(t, err)
	s, err := setStage(t.Context(), o.Config, o.Seed, count+len(p.consultations), false)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.close()) })
	p.running = &running{Options: o, stage: s}
	require.NoError(t, p.serve(t.Context(), nil))
	t.Cleanup(func() { require.NoError(t, p.program.Stop()) })
	for _, statement := range plant {
		_, err := s.db.ExecContext(t.Context(), statement)
		require.NoError(t, err, statement)
	}
	require.NoError(t, p.playAll(t.Context(), p.orders, p.consultations), "%s", p.printed)
	return p
}

// damaged returns the evidence after the statements; they are rolled back when the
// test ends. Constraints that would refuse the damage are dropped first, since a
// check must not rely on them.
func (p *played) damaged(t *testing.T, statements ...string) *evidence {
	t.Helper()
	tx, err := p.stage.db.BeginTx(context.WithoutCancel(t.Context()), &sql.TxOptions{}) // must live longer than the test's context, to be rolled back
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, tx.Rollback()) })
	for _, statement := range statements {
		done, err := tx.ExecContext(t.Context(), statement)
		require.NoError(t, err, statement)
		if verb, _, _ := strings.Cut(strings.TrimSpace(statement), " "); verb != "ALTER" && verb != "DROP" {
			rows, err := done.RowsAffected()
			require.NoError(t, err)
			require.NotZero(t, rows, "it damages nothing: %s", statement)
		}
	}
	e := p.evidence(p.orders, p.consultations)
	e.db = tx
	e.tallies, err = takeTally(t.Context(), tx, e.topo)
	require.NoError(t, err)
	return e
}

package demo

import (
	"context"
	"log/slog"
	"net/url"
	"path/filepath"
	"testing"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"millrace/cmd/millrace/app"
	"millrace/config"
	"millrace/platform/postgres"
)

// TestSplit_CollectCopiesRowsExactly covers types with special characters in their
// text, identity columns, foreign keys and rows that were deleted since.
func TestSplit_CollectCopiesRowsExactly(t *testing.T) {
	t.Parallel()
	o := optionsOf(t, 1)
	o.Config.Transport = config.OnKafka
	server := o.Config.Database.URL.Reveal()
	s, err := setStage(t.Context(), o.Config, 1, 1, true)
	require.NoError(t, err)
	t.Cleanup(func() { dropParts(t, server, s.topo.Modules()) })
	t.Cleanup(func() { require.NoError(t, s.close()) })
	change := func(module, statement string) {
		t.Helper()
		for _, p := range s.parts {
			if p.module == module {
				_, err := p.db.ExecContext(t.Context(), statement)
				require.NoError(t, err, statement)
			}
		}
	}
	same := func() {
		t.Helper()
		require.NoError(t, s.collect(t.Context()))
		for _, p := range s.parts {
			there, err := businessHash(t.Context(), p.db, []string{p.module})
			require.NoError(t, err)
			here, err := businessHash(t.Context(), s.db, []string{p.module})
			require.NoError(t, err)
			require.Equal(t, there, here)
			require.Greater(t, len(there), 4)
		}
	}
	require.ErrorContains(t, s.collect(t.Context()), "there are none", "before a module has made its tables")
	for _, p := range s.parts {
		database, err := app.OpenDatabase(t.Context(), p.serving, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		require.NoError(t, app.Migrate(t.Context(), p.serving, database))
	}
	same()
	change("payment", `INSERT INTO payment.log (partition, "offset", id, type, key, payload, metadata)
		VALUES (3, 7, gen_random_uuid(), 'payment.completed', 'goods-"1,\2', '\x00ff225c', '{"a" : "b\"c", "n": null}')`)
	change("delivery", `WITH d AS (INSERT INTO delivery.deliveries (id, order_key, user_id, payment_id, state)
		VALUES (gen_random_uuid(), 'goods-1', 'u', 'p', 'awaiting_address') RETURNING id)
		INSERT INTO delivery.history (delivery_id, action, from_state, to_state, note) SELECT id, 'begin', '', 'awaiting_address', E'a,"b"\n{c}' FROM d`)
	same()
	change("payment", `DELETE FROM payment.log`)
	same()
	var rows int
	require.NoError(t, s.db.QueryRowContext(t.Context(), `SELECT (SELECT count(*) FROM payment.log) + (SELECT count(*) FROM delivery.history)`).Scan(&rows))
	require.Equal(t, 1, rows)
	require.NotNil(t, s.looking("payment"))
	require.NotEqual(t, looker(s.db), s.looking("delivery"), "each in its own")
}

// dropParts drops the modules' databases that a demo created on server.
func dropParts(t *testing.T, server string, modules []string) {
	t.Helper()
	u, err := url.Parse(server)
	require.NoError(t, err)
	db, err := postgres.Open(context.Background(), postgres.Config{URL: server, MaxConns: 1})
	require.NoError(t, err)
	for _, module := range modules {
		_, err = db.ExecContext(context.Background(), "DROP DATABASE IF EXISTS "+pq.QuoteIdentifier(filepath.Base(u.Path)+"_demo_"+module)+" WITH (FORCE)")
		require.NoError(t, err)
	}
	require.NoError(t, db.Close())
}

package roles_test

import (
	"database/sql"
	"fmt"
	"testing"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
	"github.com/stretchr/testify/require"

	"millrace/cmd/millrace/app"
	"millrace/config"
	"millrace/platform/bus/store"
	"millrace/platform/postgres"
)

// delivery and consultation send payment.refund. The source that a command names
// decides what the receiver does with it, and where it goes when the transport is
// switched.
func TestAppend_RefusesAnotherSenderThanTheCaller(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "CREATEROLE")
	require.NoError(t, w.migrate())
	const one = `SELECT payment.append_queue_one(1::smallint, gen_random_uuid(), $1, 'k', '{}', $2::json)`
	const several = `SELECT payment.append_queue('{1,2}', ARRAY[gen_random_uuid(), gen_random_uuid()], ARRAY['payment.refund', $1::text], '{k,k}', ARRAY['{}', '{}']::bytea[], ARRAY['{"ce_source":"delivery"}', $2::text])`
	session := w.user("session", "delivery", "consultation") // as a process that serves both
	assumed, err := postgres.Open(t.Context(), postgres.Config{URL: w.as(session), Role: w.prefix + "delivery", MaxConns: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, assumed.Close()) })
	for name, db := range map[string]*sql.DB{"SignedIn": w.open(w.as(w.user("courier", "delivery")), 1), "SetRole": assumed} {
		for _, statement := range []string{one, several} {
			for _, c := range []struct{ messageType, metadata string }{
				{"payment.refund", `{"ce_source":"consultation"}`},
				{"payment.refund", `{"ce_source":"payment"}`},
				{"payment.refund", `{"ce_source":"delivery","ce_source":"consultation"}`},
				{"payment.refund", `{"ce_\u0073ource":"consultation"}`},
				{"payment.refund", `{"ce_source":"nobody"}`},
				{"payment.refund", `{"ce_source":null}`},
				{"payment.refund", `{}`},
				{"payment.refund", `[]`},
				{"delivery.shipped", `{"ce_source":"delivery"}`},
			} {
				_, err := db.ExecContext(t.Context(), statement, c.messageType, c.metadata)
				require.NotNil(t, pq.As(err, pqerror.InsufficientPrivilege), "%s: %v: %v", name, c, err)
			}
			_, err := db.ExecContext(t.Context(), statement, "payment.refund", `{"ce_source":"delivery"}`)
			require.NoError(t, err, name)
		}
	}
	for name, db := range map[string]*sql.DB{"Owner": w.open(w.as(w.owner), 1), "Superuser": w.admin, "Receiver": w.open(w.as(w.user("till", "payment")), 1)} {
		_, err := db.ExecContext(t.Context(), one, "payment.refund", `{"ce_source":"anybody"}`)
		require.NoError(t, err, name)
	}
}

// A role that could register a future module's topics for another transport would keep
// the version that has the module from starting.
func TestMigrate_RegistersTopicsWhichRolesMayNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "CREATEROLE")
	cfg := w.config(w.as(w.owner))
	cfg.Transport = config.OnKafka
	require.NoError(t, w.migrateAs(cfg))
	topics := func() (all string) {
		require.NoError(t, w.admin.QueryRowContext(t.Context(), `SELECT count(*) || ' ' || string_agg(DISTINCT transport, ',') FROM bus.topics`).Scan(&all))
		return all
	}
	topo, err := app.Topology()
	require.NoError(t, err)
	all := fmt.Sprintf("%d kafka", len(store.Topics(topo)))
	require.Equal(t, all, topics())
	states := attempts(t.Context(), t, w.open(w.as(w.user("in_payment", "payment")), 1), []string{`INSERT INTO bus.topics (name, transport) VALUES ('future.events', 'nowhere')`})
	require.Equal(t, []string{refused}, states)
	w.do(`DELETE FROM bus.topics WHERE name = 'payment.events'`)
	require.NoError(t, w.migrate(), "it is configured for postgres")
	require.Equal(t, all, topics(), "a new topic is of the transport of the others")
}

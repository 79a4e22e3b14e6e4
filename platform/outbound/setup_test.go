package outbound

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/correlation"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

// patient is the deadline for each condition that a test waits for.
const patient = time.Minute

type mailed struct {
	Subject string `json:"subject"`
}

func (mailed) EventName() string { return "post.mailed" }
func (m mailed) Key() string     { return m.Subject }

// post is a module that sends letters.
type post struct{}

func (post) Name() string                      { return "post" }
func (post) Publishes() []bus.Event            { return []bus.Event{mailed{}} }
func (post) Sends() []bus.Command              { return nil }
func (post) Subscriptions() []bus.Subscription { return nil }

// published stands in for a transport: it inserts published events into a
// table, in the same transaction.
type published struct{}

func (published) Append(ctx context.Context, tx *sql.Tx, messages []*message.Message) error {
	for _, msg := range messages {
		if _, err := tx.ExecContext(ctx, `INSERT INTO published VALUES ($1, $2)`, string(msg.Payload), msg.Metadata.Get("correlationid")); err != nil {
			return err
		}
	}
	return nil
}
func (published) Committed([]*message.Message) {}

type letter struct {
	To string `json:"to"`
}

// fixture is one database with a module's schema; several processes can be
// opened on it.
type fixture struct {
	t   *testing.T
	url string
	sql *sql.DB
	db  *bus.DB
}

func setup(t *testing.T) *fixture {
	t.Helper()
	h := &fixture{t: t, url: pgtest.URL(t)}
	h.sql, h.db = h.open()
	require.NoError(t, postgres.Migrate(t.Context(), h.sql, "post", "outbound_version", Migrations()))
	_, err := h.sql.Exec(`CREATE TABLE published (payload text, correlation text)`)
	require.NoError(t, err)
	_, err = h.sql.Exec(`CREATE TABLE effects (id uuid, attempts int, error text)`)
	require.NoError(t, err)
	return h
}

// open returns a further process's database handle.
func (h *fixture) open() (*sql.DB, *bus.DB) {
	h.t.Helper()
	topology, err := bus.NewTopology(post{})
	require.NoError(h.t, err)
	db, err := postgres.Open(h.t.Context(), postgres.Config{URL: h.url, Schema: "post", Application: "outbound-test", MaxConns: 8})
	require.NoError(h.t, err)
	h.t.Cleanup(func() { _ = db.Close() })
	return db, bus.NewDB(db, "post", topology, published{})
}

func (h *fixture) record(q *Queue[letter, string], key string) (id uuid.UUID) {
	h.t.Helper()
	require.NoError(h.t, h.db.InTx(h.t.Context(), func(tx *bus.Tx) (err error) {
		id, err = q.Record(correlation.With(h.t.Context(), "talk-"+key), tx, key, letter{To: key})
		return err
	}))
	return id
}

// start runs the queue until the test ends or stop is called.
func (h *fixture) start(q *Queue[letter, string]) (stop func()) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(h.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(h.t, within(h.t, ended))
	})
	h.t.Cleanup(stop)
	return stop
}

// waitForState waits until the call is in the state.
func (h *fixture) waitForState(id uuid.UUID, state string) {
	h.t.Helper()
	require.Eventually(h.t, func() bool {
		var now string
		err := h.sql.QueryRow(`SELECT state FROM outbound_calls WHERE id = $1`, id).Scan(&now)
		return err == nil && now == state // an error means that the test closed the connection
	}, patient, 5*time.Millisecond, "call %s never became %s", id, state)
}

// expireLeases ends all current leases, as time would.
func (h *fixture) expireLeases() {
	h.t.Helper()
	_, err := h.sql.Exec(`UPDATE outbound_calls SET next_at = now() WHERE state = 'leased'`)
	require.NoError(h.t, err)
}

// text runs a query that returns one value, as text. NULL and no row are the
// empty text.
func (h *fixture) text(query string, args ...any) string {
	h.t.Helper()
	var value sql.NullString
	require.NoError(h.t, h.sql.QueryRow(`SELECT (`+query+`)::text`, args...).Scan(&value))
	return value.String
}

// effect is the OnComplete of most tests: it inserts a row and publishes an event.
func effect(ctx context.Context, tx *bus.Tx, call Call[letter], out Outcome[string]) error {
	failed := ""
	if out.Err != nil {
		failed = out.Err.Error()
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO effects VALUES ($1, $2, $3)`, call.ID, out.Attempts, failed); err != nil {
		return err
	}
	return tx.Publish(mailed{Subject: call.Key})
}

func within[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patient):
		require.FailNow(t, "nothing came in time")
	}
	return v
}

var errBusy = errors.New("451 try again later")

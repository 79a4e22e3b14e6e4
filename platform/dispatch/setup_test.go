package dispatch

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
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

// patient is how long a test waits for what must happen.
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

// said stands in for a transport: what is published becomes rows of a table,
// in the same transaction.
type said struct{}

func (said) Append(ctx context.Context, tx *sql.Tx, messages []*message.Message) error {
	for _, msg := range messages {
		if _, err := tx.ExecContext(ctx, `INSERT INTO said VALUES ($1, $2)`, string(msg.Payload), msg.Metadata.Get("correlationid")); err != nil {
			return err
		}
	}
	return nil
}
func (said) Committed([]*message.Message) {}

type letter struct {
	To string `json:"to"`
}

// house is one database with a module's schema in it; several processes of the
// product can be opened on it.
type house struct {
	t   *testing.T
	url string
	sql *sql.DB
	db  *bus.DB
}

func setup(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, url: pgtest.URL(t)}
	h.sql, h.db = h.open()
	require.NoError(t, postgres.Migrate(t.Context(), h.sql, "post", "dispatch_version", Migrations()))
	_, err := h.sql.Exec(`CREATE TABLE said (payload text, correlation text)`)
	require.NoError(t, err)
	_, err = h.sql.Exec(`CREATE TABLE effects (id uuid, attempts int, error text)`)
	require.NoError(t, err)
	return h
}

// open gives a further process its own handle.
func (h *house) open() (*sql.DB, *bus.DB) {
	h.t.Helper()
	topology, err := bus.NewTopology(post{})
	require.NoError(h.t, err)
	db, err := postgres.Open(h.t.Context(), postgres.Config{URL: h.url, Schema: "post", Application: "dispatch-test", MaxConns: 8})
	require.NoError(h.t, err)
	h.t.Cleanup(func() { _ = db.Close() })
	return db, bus.NewDB(db, "post", topology, said{})
}

func (h *house) record(d *Dispatcher[letter, string], key string) (id uuid.UUID) {
	h.t.Helper()
	require.NoError(h.t, h.db.InTx(h.t.Context(), func(tx *bus.Tx) (err error) {
		id, err = d.Record(bus.WithCorrelation(h.t.Context(), "talk-"+key), tx, key, letter{To: key})
		return err
	}))
	return id
}

// start runs the dispatcher until the test ends or stop is called.
func (h *house) start(d *Dispatcher[letter, string]) (stop func()) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(h.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(h.t, within(h.t, ended))
	})
	h.t.Cleanup(stop)
	return stop
}

// is waits until the intent is in the state.
func (h *house) is(id uuid.UUID, state string) {
	h.t.Helper()
	require.Eventually(h.t, func() bool {
		var now string
		err := h.sql.QueryRow(`SELECT state FROM dispatch WHERE id = $1`, id).Scan(&now)
		return err == nil && now == state // an error: a test ended the connection
	}, patient, 5*time.Millisecond, "intent %s never became %s", id, state)
}

// lapse ends the leases that there are, as time would.
func (h *house) lapse() {
	h.t.Helper()
	_, err := h.sql.Exec(`UPDATE dispatch SET next_at = now() WHERE state = 'leased'`)
	require.NoError(h.t, err)
}

// text reads one value as text.
func (h *house) text(query string, args ...any) (value string) {
	h.t.Helper()
	require.NoError(h.t, h.sql.QueryRow(`SELECT (`+query+`)::text`, args...).Scan(&value))
	return value
}

// effect is the Settle of most tests: an effect, and an event.
func effect(ctx context.Context, tx *bus.Tx, in Intent[letter], out Outcome[string]) error {
	failed := ""
	if out.Err != nil {
		failed = out.Err.Error()
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO effects VALUES ($1, $2, $3)`, in.ID, out.Attempts, failed); err != nil {
		return err
	}
	return tx.Publish(mailed{Subject: in.Key})
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

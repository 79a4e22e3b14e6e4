package outbound

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/platform/postgres"
)

// The claim is committed, but its reply is lost.
func TestClaim_LostReplyUsesNoAttempt(t *testing.T) {
	t.Parallel()
	h := setup(t)
	var lose, lost atomic.Bool
	topology, err := bus.NewTopology(post{})
	require.NoError(t, err)
	db, err := postgres.Open(t.Context(), postgres.Config{URL: losing(t, h.url, &lose, &lost), Schema: "post", MaxConns: 2})
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	q := New(bus.NewDB(db, "post", topology, published{}), Config[letter, string]{Name: "letter", OnComplete: effect, MaxAttempts: 1,
		Do: func(context.Context, Call[letter]) (string, error) { return "250 ok", nil }})
	q.poll = 20 * time.Millisecond
	id := h.record(q, "goods-1")
	lose.Store(true)
	h.start(q)
	h.waitForState(id, "succeeded")
	require.True(t, lost.Load())
	require.Equal(t, "1 1", h.text(`SELECT c.attempts || ' ' || e.attempts FROM outbound_calls c JOIN effects e USING (id)`))
}

// losing returns a URL that leads to the database at target through a proxy.
// While lose is true, the proxy closes a connection instead of forwarding the
// reply to its COMMIT, once.
func losing(t *testing.T, target string, lose, lost *atomic.Bool) string {
	t.Helper()
	u, err := url.Parse(target)
	require.NoError(t, err)
	network, address, query := "tcp", u.Host, u.Query()
	if dir := query.Get("host"); dir != "" {
		network, address = "unix", dir+"/.s.PGSQL."+query.Get("port")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	forward := func(to, from net.Conn, forwards func([]byte) bool) {
		defer to.Close()
		buffer := make([]byte, 32<<10)
		for {
			n, err := from.Read(buffer)
			if err != nil || !forwards(buffer[:n]) {
				return
			}
			_, _ = to.Write(buffer[:n]) // an error ends the next Read
		}
	}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial(network, address)
			if err != nil {
				_ = client.Close()
				return
			}
			t.Cleanup(func() { _, _ = client.Close(), server.Close() })
			var commits atomic.Bool
			go forward(server, client, func(sent []byte) bool {
				if bytes.Contains(sent, []byte("COMMIT")) && lose.CompareAndSwap(true, false) {
					commits.Store(true)
				}
				return true
			})
			go forward(client, server, func([]byte) bool {
				if commits.Load() {
					lost.Store(true)
					return false
				}
				return true
			})
		}
	}()
	query.Del("host")
	query.Del("port")
	query.Set("sslmode", "disable")
	u.Host, u.RawQuery = l.Addr().String(), query.Encode()
	return u.String()
}

// A claim may take so long that little of the lease is left for the call.
func TestQueue_KeepsLeaseDuringCall(t *testing.T) {
	t.Parallel()
	h := setup(t)
	var calls atomic.Int32
	called, answered := make(chan struct{}, 9), make(chan struct{})
	process := func(db *bus.DB) *Queue[letter, string] {
		q := New(db, Config[letter, string]{Name: "letter", OnComplete: effect, Timeout: patient,
			Do: func(context.Context, Call[letter]) (string, error) {
				calls.Add(1)
				called <- struct{}{}
				<-answered
				return "250 ok", nil
			}})
		q.lease, q.poll = time.Second, 20*time.Millisecond
		return q
	}
	q := process(h.db)
	h.start(q)
	id := h.record(q, "goods-1")
	within(t, called)
	_, other := h.open()
	h.start(process(other))
	until := time.Now().Add(3 * q.lease)
	require.Eventually(t, func() bool { return time.Now().After(until) || calls.Load() > 1 }, patient, 5*time.Millisecond)
	close(answered)
	h.waitForState(id, "succeeded")
	require.EqualValues(t, 1, calls.Load(), "the call was made again")
	require.Equal(t, "1", h.text(`SELECT attempts FROM outbound_calls`))
}

// OnComplete waits for longer than the lease, and its transaction fails then.
// Renewals must not wait behind it: another process would take the call before
// the next one.
func TestQueue_KeepsLeaseWhileOnCompleteWaits(t *testing.T) {
	t.Parallel()
	h := setup(t)
	reserved, err := postgres.Open(t.Context(), postgres.Config{URL: h.url, Schema: "post", MaxConns: 1, LockTimeout: 20 * time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(func() { _ = reserved.Close() })
	var calls, completions atomic.Int32
	process := func(db *bus.DB) *Queue[letter, string] {
		q := New(db, Config[letter, string]{Name: "letter",
			Do: func(context.Context, Call[letter]) (string, error) { calls.Add(1); return "250 ok", nil },
			OnComplete: func(ctx context.Context, tx *bus.Tx, call Call[letter], out Outcome[string]) error {
				if completions.Add(1) <= 3 {
					if _, err := tx.ExecContext(ctx, `SELECT pg_sleep(2)`); err != nil {
						return err
					}
					return errs.New(errs.Resource, "a lock was held for too long")
				}
				return effect(ctx, tx, call, out)
			}})
		q.lease, q.poll = time.Second, 10*time.Millisecond
		return q
	}
	q := process(h.db.WithReserved(reserved))
	h.start(q)
	id := h.record(q, "goods-1")
	require.Eventually(t, func() bool { return completions.Load() > 0 }, patient, time.Millisecond)
	_, other := h.open()
	h.start(process(other))
	h.waitForState(id, "succeeded")
	require.EqualValues(t, 1, calls.Load(), "the call was made again")
	require.Equal(t, "1", h.text(`SELECT attempts FROM outbound_calls`))
}

// OnComplete fails for a reason of its own, and the database is too slow to
// requeue the call several times.
func TestRequeue_SlowDatabaseUsesNoAttempt(t *testing.T) {
	t.Parallel()
	h := setup(t)
	_, err := h.sql.Exec(`
		CREATE SEQUENCE tries;
		CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF nextval('tries') <= 4 THEN RAISE 'canceling statement due to statement timeout' USING ERRCODE = '57014'; END IF;
			RETURN NEW;
		END $$;
		CREATE TRIGGER slow BEFORE UPDATE ON outbound_calls FOR EACH ROW WHEN (NEW.state = 'pending') EXECUTE FUNCTION slow()`)
	require.NoError(t, err)
	completions := atomic.Int32{}
	q := New(h.db, Config[letter, string]{Name: "letter", MaxAttempts: 1,
		Do: func(context.Context, Call[letter]) (string, error) { return "250 ok", nil },
		OnComplete: func(ctx context.Context, tx *bus.Tx, call Call[letter], out Outcome[string]) error {
			if completions.Add(1) <= 3 {
				return errors.New("no such order")
			}
			return effect(ctx, tx, call, out)
		}})
	q.lease, q.poll = 500*time.Millisecond, 20*time.Millisecond
	h.start(q)
	id := h.record(q, "goods-1")
	h.waitForState(id, "succeeded")
	require.Equal(t, "5", h.text(`SELECT last_value FROM tries`))
	require.Equal(t, "1", h.text(`SELECT attempts FROM outbound_calls`))
}

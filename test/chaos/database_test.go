//go:build chaos

package chaos_test

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/postgres"
	"millrace/platform/postgres/devserver"
	"millrace/platform/postgres/pgtest"
	"millrace/test/ports"
)

func TestPostgreSQL_CutConnectionsLoseNothing(t *testing.T) {
	t.Parallel()
	w := fresh(t)
	at := ports.Of(t)
	w.serve(at, "")
	l := w.load(3, at)
	l.accepts(10)
	cut := 0
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for range 30 {
		<-tick.C
		var n int
		require.NoError(t, w.db.QueryRowContext(t.Context(), `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'millrace%'`).Scan(&n))
		cut += n
	}
	require.Greater(t, cut, 60, "connections were cut")
	l.accepts(10)
	l.accounted()
}

func TestPostgreSQL_LostCommitRepliesLoseNothing(t *testing.T) {
	t.Parallel()
	direct := pgtest.URL(t)
	p, through := newProxy(t, direct)
	w := newWorld(t, direct, "MILLRACE_DATABASE_URL="+through)
	at := ports.Of(t)
	w.serve(at, "")
	l := w.load(3, at)
	l.accepts(10)
	p.lose(6)
	w.until(func() string {
		if n := p.losses(); n < 60 {
			return fmt.Sprintf("%d answers were lost", n)
		}
		return ""
	})
	p.lose(0)
	l.accepts(10)
	l.accounted()
}

// The database, or the network, accepts all data and returns none, for longer than
// the program's lease.
func TestPostgreSQL_HangLosesNothing(t *testing.T) {
	t.Parallel()
	direct := pgtest.URL(t)
	p, through := newProxy(t, direct)
	w := newWorld(t, direct, "MILLRACE_DATABASE_URL="+through)
	at := ports.Of(t)
	w.serve(at, "")
	l := w.load(3, at)
	for _, broken := range []bool{false, true} {
		l.accepts(15)
		p.hang()
		w.becomes("true", `SELECT coalesce(bool_and(expires_at < clock_timestamp() - interval '2 seconds'), true) FROM bus.nodes`)
		p.goOn(broken)
	}
	l.accepts(15)
	l.accounted()
}

// A device between the program and the database forgets the open connections, but
// still acknowledges the data sent on them. Neither side gets an error, and no
// timeout of the server or of TCP applies: the program must give the connections
// up by itself.
func TestPostgreSQL_SilentlyDeadConnectionsAreReplaced(t *testing.T) {
	t.Parallel()
	direct := pgtest.URL(t)
	p, through := newProxy(t, direct)
	w := newWorld(t, direct, "MILLRACE_DATABASE_URL="+through)
	at := ports.Of(t)
	w.serve(at, "")
	l := w.load(3, at)
	for range 2 {
		l.accepts(15)
		p.vanish()
	}
	l.accepts(15)
	l.accounted()
}

// Another client takes the handlers' locks in the opposite order, and every thirteenth
// effect raises a serialization failure.
func TestPostgreSQL_DeadlocksAndSerializationFailuresLoseNothing(t *testing.T) {
	t.Parallel()
	w := fresh(t)
	at := ports.Of(t)
	w.serve(at, "").stop()
	w.exec(`CREATE SEQUENCE public.failures`)
	w.exec(`CREATE FUNCTION public.collide() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF nextval('public.failures') % 13 = 0 THEN RAISE EXCEPTION 'could not serialize access' USING ERRCODE = '40001'; END IF; RETURN NEW; END $$`)
	for _, table := range []string{"delivery.deliveries", "notification.notifications", "payment.payment_history", "dataplatform.record"} {
		w.exec(`CREATE TRIGGER collide BEFORE INSERT ON ` + table + ` FOR EACH ROW EXECUTE FUNCTION public.collide()`)
	}
	w.serve(at, "")
	l := w.load(3, at)
	w.until(func() string {
		w.collide()
		deadlocks := w.one(`SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`)
		if failures := w.one(`SELECT last_value >= 13 * 10 FROM public.failures`); failures != "true" || len(deadlocks) == 1 && deadlocks < "3" {
			return deadlocks + " deadlocks; ten serialization failures: " + failures
		}
		return ""
	})
	l.accepts(10)
	l.accounted()
}

// collide locks the tables of effects and then the offsets. A batch takes these locks
// in the opposite order, so some transactions deadlock.
func (w *world) collide() {
	tx, err := w.db.BeginTx(w.t.Context(), nil)
	require.NoError(w.t, err)
	defer func() { _ = tx.Rollback() }() // rolls back in any case
	_, err = tx.ExecContext(w.t.Context(), `LOCK TABLE delivery.deliveries, notification.notifications IN SHARE ROW EXCLUSIVE MODE`)
	if err == nil {
		_, err = tx.ExecContext(w.t.Context(), `UPDATE delivery.offsets SET committed_offset = committed_offset`)
	}
	if err == nil {
		_, err = tx.ExecContext(w.t.Context(), `UPDATE notification.offsets SET committed_offset = committed_offset`)
	}
	if err != nil {
		w.t.Logf("the competitor: %v", err) // the server may have chosen it as the deadlock's victim
	}
}

// The server crashes. First one backend is killed, twice, and the server restarts by
// itself. Then the whole server is killed, and the test starts it again.
func TestPostgreSQL_CrashLosesNothing(t *testing.T) {
	t.Parallel()
	cfg := devserver.Config{DataDir: pgtest.Dir(t) + "/data", NoSync: true} // no power failure here, so no need to sync
	server, err := devserver.Start(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Stop() })
	require.NoError(t, server.CreateDatabase(t.Context(), "millrace"))
	w := newWorld(t, server.URL("millrace"))
	at := ports.Of(t)
	w.serve(at, "")
	l := w.load(3, at)
	for range 2 {
		l.accepts(15)
		w.until(func() string { // the server may still be restarting
			backend, err := strconv.Atoi(w.one(`SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'millrace%' ORDER BY state, random() LIMIT 1`))
			if err == nil {
				err = syscall.Kill(backend, syscall.SIGKILL)
			}
			if err != nil {
				return "no backend to kill: " + err.Error()
			}
			return ""
		})
	}
	l.accepts(15)
	require.NoError(t, syscall.Kill(server.PID(), syscall.SIGKILL))
	<-server.Done()
	_ = server.Stop() // unlocks its data folder
	again, err := devserver.Start(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = again.Stop() })
	l.accepts(15)
	l.accounted()
}

// A transaction that wrote rows and stays open must not delay anyone else.
func TestPostgreSQL_IdleWriteTransactionDelaysNobody(t *testing.T) {
	t.Parallel()
	w := fresh(t)
	at := ports.Of(t)
	w.serve(at, "")
	tx := w.idle()
	for _, statement := range []string{
		`CREATE TABLE public.scratch (n int)`,
		`INSERT INTO delivery.addresses (order_key, name, phone, postcode, line1, country) VALUES ('goods-idle', '', '', '', '', 'KR')`,
		`INSERT INTO payment.idempotency_keys (key, request_hash) VALUES ('idle', '')`,
		`SELECT pg_current_xact_id()`,
	} {
		_, err := tx.ExecContext(t.Context(), statement)
		require.NoError(t, err, statement)
	}
	l := w.load(3, at)
	l.accepts(40)
	w.becomes("true", `SELECT clock_timestamp() - xact_start > interval '60 s' FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'idle'`)
	l.accepts(10)
	w.becomes("true", `SELECT count(*) >= 30 FROM delivery.deliveries WHERE state = 'delivered'`)
	w.becomes("true", `SELECT count(*) >= 60 FROM notification.notifications WHERE state = 'sent'`)
	w.becomes("true", `SELECT count(*) >= 100 FROM dataplatform.record r JOIN dataplatform.file f ON r.position BETWEEN f.first_position AND f.last_position AND f.written_at IS NOT NULL`)
	require.NoError(t, tx.Rollback(), "it was open all the time")
	l.accounted()
}

// idle begins a transaction that may stay open for an hour.
func (w *world) idle() *sql.Tx {
	w.t.Helper()
	db, err := postgres.Open(w.t.Context(), postgres.Config{URL: w.url, MaxConns: 1, Application: "idle", IdleInTxTimeout: time.Hour})
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = db.Close() })
	tx, err := db.BeginTx(context.WithoutCancel(w.t.Context()), nil)
	require.NoError(w.t, err)
	return tx
}

func TestStart_RefusesAPoolThatIsTooSmallOrTooLarge(t *testing.T) {
	t.Parallel()
	for _, conns := range []string{"4", "400"} {
		w := fresh(t, "MILLRACE_DATABASE_MAX_CONNS_PER_MODULE="+conns)
		p := w.launch(ports.Of(t), "", "serve")
		require.Error(t, p.wait("it cannot work with "+conns))
		require.Contains(t, p.stderr.String(), "max_conns_per_module")
	}
}

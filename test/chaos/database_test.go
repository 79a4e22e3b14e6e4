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

func TestConnectionsCutFiveTimesASecond(t *testing.T) {
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

func TestTheAnswersToCommitsAreLost(t *testing.T) {
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

// The database, or the way to it, takes every byte and gives none back, for
// longer than the program's lease.
func TestADatabaseThatHangs(t *testing.T) {
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
		w.becomes("true", `SELECT coalesce(bool_and(expires_at < clock_timestamp() - interval '2 seconds'), true) FROM bus.processes`)
		p.goOn(broken)
	}
	l.accepts(15)
	l.accounted()
}

// Something between the program and the database forgets the connections that
// are open, and goes on acknowledging what is sent through them. Neither side is
// told, and no time limit of the server or of TCP helps the program: it has to
// give them up by itself.
func TestConnectionsThatDieWithoutAWord(t *testing.T) {
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

// A competitor takes the same locks the other way round; and every thirteenth
// effect meets a serialization failure.
func TestDeadlocksAndSerializationFailures(t *testing.T) {
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

// collide locks a table of effects, and then the positions, which a run has
// moved before it writes its effects.
func (w *world) collide() {
	tx, err := w.db.BeginTx(w.t.Context(), nil)
	require.NoError(w.t, err)
	defer func() { _ = tx.Rollback() }() // either way
	_, err = tx.ExecContext(w.t.Context(), `LOCK TABLE delivery.deliveries, notification.notifications IN SHARE ROW EXCLUSIVE MODE`)
	if err == nil {
		_, err = tx.ExecContext(w.t.Context(), `UPDATE delivery.positions SET position = position`)
	}
	if err == nil {
		_, err = tx.ExecContext(w.t.Context(), `UPDATE notification.positions SET position = position`)
	}
	if err != nil {
		w.t.Logf("the competitor: %v", err) // it may be the one whom the server chose
	}
}

// The server crashes: once a backend of its is killed, and it starts all anew by
// itself; once the whole of it, and somebody starts it.
func TestPostgreSQLCrashes(t *testing.T) {
	t.Parallel()
	cfg := devserver.Config{DataDir: pgtest.Dir(t) + "/data", NoSync: true} // the machine stays up
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
		w.until(func() string { // it may still be starting anew
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
	_ = server.Stop() // gives the folder free
	again, err := devserver.Start(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = again.Stop() })
	l.accepts(15)
	l.accounted()
}

// Others go on: what is written and not committed is nobody's business.
func TestAnIdleWritingTransactionStopsNobody(t *testing.T) {
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

// idle begins a transaction that may stay open for ever.
func (w *world) idle() *sql.Tx {
	w.t.Helper()
	db, err := postgres.Open(w.t.Context(), postgres.Config{URL: w.url, MaxConns: 1, Application: "idle", IdleInTxTimeout: time.Hour})
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = db.Close() })
	tx, err := db.BeginTx(context.WithoutCancel(w.t.Context()), nil)
	require.NoError(w.t, err)
	return tx
}

func TestAPoolThatIsTooSmallOrTooLargeIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	for _, conns := range []string{"4", "400"} {
		w := fresh(t, "MILLRACE_DATABASE_MAX_CONNS_PER_MODULE="+conns)
		p := w.launch(ports.Of(t), "", "serve")
		require.Error(t, p.wait("it cannot work with "+conns))
		require.Contains(t, p.stderr.String(), "max_conns_per_module")
	}
}

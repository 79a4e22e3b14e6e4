//go:build chaos

package chaos_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/platform/bus/kafkabridge/fakebroker"
	"millrace/platform/postgres/devserver"
	"millrace/platform/postgres/pgtest"
	"millrace/test/ports"
)

// freshOnKafka makes a world on Kafka, with a fake broker in the test's process, which
// keeps running when the program is killed.
func freshOnKafka(t *testing.T, environment ...string) *world {
	t.Helper()
	return fresh(t, throughKafka(fakeKafka(t), environment...)...)
}

func fakeKafka(t *testing.T) []string {
	t.Helper()
	broker, err := fakebroker.Start(kfake.GroupMinSessionTimeout(time.Second))
	require.NoError(t, err)
	t.Cleanup(broker.Close)
	return broker.Addresses()
}

// throughKafka returns the environment of a program that uses these brokers.
func throughKafka(brokers []string, environment ...string) []string {
	return append([]string{"MILLRACE_TRANSPORT=kafka", "MILLRACE_KAFKA_BROKERS=" + strings.Join(brokers, ","),
		"MILLRACE_BUS_WORKERS=2", "MILLRACE_DATABASE_MAX_CONNS_PER_MODULE=4"}, environment...)
}

func TestTransport_MovesToKafkaAndBackUnderLoad(t *testing.T) {
	movesToKafkaAndBack(t, freshOnKafka)
}

// movesToKafkaAndBack moves an installation to Kafka and back under load: it stops the
// program, runs `millrace transport`, and starts the program again.
func movesToKafkaAndBack(t *testing.T, place func(*testing.T, ...string) *world) {
	t.Parallel()
	w := place(t)
	at := ports.Of(t)
	use := func(transport string) {
		w.env, w.moved = append(w.env, "MILLRACE_TRANSPORT="+transport), true
	}
	use("postgres")
	p := w.serve(at, "")
	l := w.load(3, at)
	for _, transport := range []string{"kafka", "postgres", "kafka"} {
		l.accepts(30)
		p.stop()
		require.NoError(t, w.launch(at, "", "transport", transport).wait("transport"))
		use(transport)
		p = w.serve(at, "")
	}
	l.accepts(30)
	l.accounted()
}

// The database server crashes while messages go through Kafka: under load, together
// with the program, and after the load, when no later record may reveal what the
// crash lost. Received records are committed without waiting for the disk, and this
// server keeps them in memory for up to ten seconds.
func TestPostgreSQL_CrashLosesNothingOnKafka(t *testing.T) {
	t.Parallel()
	cfg := devserver.Config{DataDir: pgtest.Dir(t) + "/data"}
	server, err := devserver.Start(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Stop() }) // the current one
	require.NoError(t, server.CreateDatabase(t.Context(), "millrace"))
	w := newWorld(t, server.URL("millrace"), throughKafka(fakeKafka(t))...)
	w.exec(`ALTER SYSTEM SET wal_writer_delay = '10s'`)
	w.exec(`SELECT pg_reload_conf()`)
	require.Equal(t, "on", w.one(`current_setting('fsync')`))
	w.becomes("10s", `current_setting('wal_writer_delay')`)
	crash := func() {
		require.NoError(t, syscall.Kill(server.PID(), syscall.SIGKILL))
		<-server.Done()
		_ = server.Stop() // unlocks its data folder
	}
	restart := func() {
		again, err := devserver.Start(t.Context(), cfg)
		require.NoError(t, err)
		server = again
		w.db.SetMaxIdleConns(0) // drops the dead connections
		w.db.SetMaxIdleConns(2)
	}
	at := ports.Of(t)
	p := w.serve(at, "")
	l := w.load(3, at)
	for range 2 {
		l.accepts(10)
		crash()
		restart()
	}
	l.accepts(15)
	crash()
	require.NoError(t, p.Process.Kill())
	require.Error(t, p.wait("it was killed"))
	restart()
	w.serve(at, "")
	l.accepts(15)
	l.end()
	crash()
	restart()
	l.accounted()
}

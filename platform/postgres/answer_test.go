package postgres_test

import (
	"net"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

// A proxy between the program and the server forwards some bytes of an answer and then
// none, but keeps acknowledging TCP packets.
func TestOpen_InterruptedAnswerFailsAfterStatementTimeout(t *testing.T) {
	t.Parallel()
	for name, passes := range map[string]int64{"NothingArrives": 0, "20KBArrive": 20 << 10} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var path proxied
			path.left.Store(1 << 60)
			db := open(t, postgres.Config{URL: path.to(t, pgtest.URL(t)), MaxConns: 1, StatementTimeout: 2 * time.Second})
			_, err := db.ExecContext(t.Context(), "SELECT 1")
			require.NoError(t, err)
			path.left.Store(passes)
			failed := make(chan error, 1)
			go func() {
				_, err := db.ExecContext(t.Context(), "SELECT repeat('x', 1000) FROM generate_series(1, 1000)")
				failed <- err
			}()
			select {
			case err := <-failed:
				require.Error(t, err)
			case <-time.After(time.Minute):
				require.FailNow(t, "it waits still; the limit is the statement's two seconds and 5 s")
			}
		})
	}
}

// proxied is a way to a server through a proxy, which drops the server's bytes once left
// is used up, and counts connections.
type proxied struct{ left, connections atomic.Int64 }

// to returns a URL that leads to the database at target.
func (p *proxied) to(t *testing.T, target string) string {
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
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			p.connections.Add(1)
			server, err := net.Dial(network, address)
			if err != nil {
				_ = client.Close()
				return
			}
			t.Cleanup(func() { _, _ = client.Close(), server.Close() })
			go pass(server, client, func(int) bool { return true })
			go pass(client, server, func(n int) bool { return p.left.Add(-int64(n)) >= 0 })
		}
	}()
	query.Del("host")
	query.Del("port")
	query.Set("sslmode", "disable")
	u.Host, u.RawQuery = l.Addr().String(), query.Encode()
	return u.String()
}

func pass(to, from net.Conn, may func(n int) bool) {
	buffer := make([]byte, 1024)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if may(n) {
			_, _ = to.Write(buffer[:n])
		}
	}
}

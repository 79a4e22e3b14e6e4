package postgres_test

import (
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

// pooler is a proxy that pools by transaction, the way PgBouncer does: a client
// gets a server connection with its first statement, and gives it back when the
// server says that no transaction is open. It answers the start of a session itself.
type pooler struct {
	t       *testing.T
	network string
	server  string
	mu      sync.Mutex
	idle    []net.Conn // the last given back is the next given out
	startup []byte     // the first client's, replayed for each server connection
}

func startPooler(t *testing.T, serverURL string) string {
	u, err := url.Parse(serverURL)
	require.NoError(t, err)
	p := &pooler{t: t, network: "tcp", server: u.Host}
	if dir := u.Query().Get("host"); dir != "" {
		p.network, p.server = "unix", filepath.Join(dir, ".s.PGSQL."+u.Query().Get("port"))
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, listener.Close()) })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go p.serve(client)
		}
	}()
	return "postgres://" + u.User.String() + "@" + listener.Addr().String() + u.Path + "?sslmode=disable"
}

func (p *pooler) serve(client net.Conn) {
	defer client.Close() //nolint:errcheck // the client has gone
	head := make([]byte, 4)
	if _, err := io.ReadFull(client, head); err != nil {
		return
	}
	rest := make([]byte, binary.BigEndian.Uint32(head)-4)
	if _, err := io.ReadFull(client, rest); err != nil {
		return
	}
	p.mu.Lock()
	if p.startup == nil {
		p.startup = append(head, rest...)
	}
	p.mu.Unlock()
	// AuthenticationOk, BackendKeyData with numbers of its own, ReadyForQuery.
	hello := "R\x00\x00\x00\x08\x00\x00\x00\x00" + "K\x00\x00\x00\x0c\x00\x00\x00\x01\x00\x00\x00\x02" + "Z\x00\x00\x00\x05I"
	if _, err := io.WriteString(client, hello); err != nil {
		return
	}
	var held net.Conn
	for {
		message, err := readMessage(client)
		if err != nil || message[0] == 'X' {
			return
		}
		if held == nil {
			if held, err = p.take(); err != nil {
				return
			}
		}
		if _, err := held.Write(message); err != nil {
			return
		}
		if message[0] != 'Q' && message[0] != 'S' { // the server answers a Query or a Sync
			continue
		}
		ready, err := relay(held, client)
		if err != nil {
			return
		}
		if ready[5] == 'I' {
			p.mu.Lock()
			p.idle = append(p.idle, held)
			p.mu.Unlock()
			held = nil
		}
		if _, err := client.Write(ready); err != nil { // not before the server is given back: the client goes on at once
			return
		}
	}
}

func (p *pooler) take() (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		last := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return last, nil
	}
	server, err := net.Dial(p.network, p.server)
	if err != nil {
		return nil, err
	}
	p.t.Cleanup(func() { _ = server.Close() }) // the server may have closed it with the database
	if _, err := server.Write(p.startup); err != nil {
		return nil, err
	}
	_, err = relay(server, io.Discard)
	return server, err
}

// relay passes the server's messages on, up to ReadyForQuery, which it returns.
func relay(from io.Reader, to io.Writer) (ready []byte, err error) {
	for {
		message, err := readMessage(from)
		if err != nil {
			return nil, err
		}
		if message[0] == 'Z' {
			return message, nil
		}
		if _, err := to.Write(message); err != nil {
			return nil, err
		}
	}
}

func readMessage(from io.Reader) ([]byte, error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(from, head); err != nil {
		return nil, err
	}
	message := make([]byte, 1+binary.BigEndian.Uint32(head[1:]))
	copy(message, head)
	_, err := io.ReadFull(from, message[5:])
	return message, err
}

func TestAProxyThatPoolsByTransactionIsRefused(t *testing.T) {
	t.Parallel()
	_, err := postgres.Open(t.Context(), postgres.Config{URL: startPooler(t, pgtest.URL(t)), MaxConns: 1})
	require.Equal(t, errs.Invalid, errs.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "pools by transaction")
	require.ErrorContains(t, err, "pool_mode")
}

func TestAProxyThatRefusesOurSettingsIsNamedAsOne(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, listener.Close()) })
	go func() {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		defer client.Close() //nolint:errcheck // the client has gone
		fields := "SFATAL\x00C08P01\x00Munsupported startup parameter: search_path\x00\x00"
		answer := append([]byte{'E'}, binary.BigEndian.AppendUint32(nil, uint32(4+len(fields)))...)
		_, _ = client.Write(append(answer, fields...)) // the test's error tells if it failed
	}()
	_, err = postgres.Open(t.Context(), postgres.Config{URL: "postgres://u@" + listener.Addr().String() + "/db", Schema: "a", MaxConns: 1})
	require.Equal(t, errs.Invalid, errs.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "pool_mode")
}

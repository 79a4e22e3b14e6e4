package postgres_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/xdg-go/scram"

	"millrace/platform/errs"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

// pooler is a proxy like PgBouncer. Pooling by transaction, a client gets a server connection
// with its first statement, and returns it when no transaction is open. Pooling by session,
// it returns it when the client disconnects. The pooler answers the start of a session itself.
type pooler struct {
	t       *testing.T
	session bool   // pool by session instead of by transaction
	refused string // the parameter that it refuses in a first packet
	dropped bool   // accept all parameters in a first packet, but forward none
	ends    string // the statement at which it ends a client's session, and its reason
	reason  string
	network string
	server  string
	user    *url.Userinfo
	mu      sync.Mutex
	idle    []net.Conn // a stack: the last returned is used next
	startup []byte     // the first client's packet, sent on each server connection; by session, each client's own
}

func startPooler(t *testing.T, serverURL string, p *pooler) string {
	u, err := url.Parse(serverURL)
	require.NoError(t, err)
	p.t, p.network, p.server = t, "tcp", u.Host
	p.user = u.User
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
	defer client.Close() //nolint:errcheck // the client has disconnected
	head := make([]byte, 4)
	if _, err := io.ReadFull(client, head); err != nil {
		return
	}
	rest := make([]byte, binary.BigEndian.Uint32(head)-4)
	if _, err := io.ReadFull(client, rest); err != nil {
		return
	}
	if p.refused != "" && bytes.Contains(rest, []byte("\x00"+p.refused+"\x00")) {
		fields := "SFATAL\x00C08P01\x00Munsupported startup parameter: " + p.refused + "\x00\x00"
		answer := append([]byte{'E'}, binary.BigEndian.AppendUint32(nil, uint32(4+len(fields)))...)
		_, _ = client.Write(append(answer, fields...)) // a failure shows in the test's error
		return
	}
	p.mu.Lock()
	if p.startup == nil || p.session {
		p.startup = append(head, rest...)
		if p.dropped {
			p.startup = onlyUser(rest)
		}
	}
	startup := p.startup
	p.mu.Unlock()
	// AuthenticationOk, BackendKeyData with an id and a key of its own, ReadyForQuery.
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
		if p.ends != "" && bytes.Contains(message, []byte(p.ends)) {
			fields := "SFATAL\x00C08P01\x00M" + p.reason + "\x00\x00"
			answer := append([]byte{'E'}, binary.BigEndian.AppendUint32(nil, uint32(4+len(fields)))...)
			_, _ = client.Write(append(answer, fields...))
			return
		}
		if held == nil {
			if held, err = p.take(startup); err != nil {
				return
			}
		}
		if _, err := held.Write(message); err != nil {
			return
		}
		if message[0] != 'Q' && message[0] != 'S' { // the server answers only Query and Sync
			continue
		}
		ready, err := relay(held, client)
		if err != nil {
			return
		}
		if ready[5] == 'I' && !p.session {
			p.mu.Lock()
			p.idle = append(p.idle, held)
			p.mu.Unlock()
			held = nil
		}
		if _, err := client.Write(ready); err != nil { // only after the server was returned: the client continues at once
			return
		}
	}
}

// onlyUser is a first packet with only the user and the database.
func onlyUser(rest []byte) []byte {
	fields := strings.Split(string(rest[4:]), "\x00")
	kept := string(rest[:4]) // the protocol version
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i] == "user" || fields[i] == "database" {
			kept += fields[i] + "\x00" + fields[i+1] + "\x00"
		}
	}
	kept += "\x00"
	return append(binary.BigEndian.AppendUint32(nil, uint32(4+len(kept))), kept...)
}

func (p *pooler) take(startup []byte) (net.Conn, error) {
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
	p.t.Cleanup(func() { _ = server.Close() }) // the server may already have closed it
	if _, err := server.Write(startup); err != nil {
		return nil, err
	}
	if err := p.signIn(server); err != nil {
		return nil, err
	}
	_, err = relay(server, io.Discard)
	return server, err
}

// signIn signs in with SCRAM-SHA-256 instead of the client, as PgBouncer does.
func (p *pooler) signIn(server net.Conn) error {
	password, _ := p.user.Password()
	client, err := scram.SHA256.NewClient("", password, "") // the server uses the name of the first packet
	if err != nil {
		return err
	}
	conversation := client.WithMinIterations(1000).NewConversation() // the tests' server: see pgtest
	for {
		message, err := readMessage(server)
		if err != nil {
			return err
		}
		if message[0] != 'R' {
			return fmt.Errorf("signing in: the server answered %q", message)
		}
		kind, rest := binary.BigEndian.Uint32(message[5:]), string(message[9:])
		if kind == 0 { // AuthenticationOk
			return nil
		}
		challenge := rest
		if kind == 10 { // AuthenticationSASL: rest is the list of mechanisms
			challenge = ""
		}
		answer, err := conversation.Step(challenge)
		if err != nil || kind == 12 { // AuthenticationSASLFinal
			if err != nil {
				return err
			}
			continue
		}
		if kind == 10 {
			answer = "SCRAM-SHA-256\x00" + string(binary.BigEndian.AppendUint32(nil, uint32(len(answer)))) + answer
		}
		packet := append([]byte{'p'}, binary.BigEndian.AppendUint32(nil, uint32(4+len(answer)))...)
		if _, err := server.Write(append(packet, answer...)); err != nil {
			return err
		}
	}
}

// relay forwards the server's messages up to ReadyForQuery, which it returns.
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

func TestOpen_RefusesTransactionPooling(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]*pooler{"TakesSettings": {}, "RefusesSettings": {refused: "search_path"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := postgres.Open(t.Context(), postgres.Config{URL: startPooler(t, pgtest.URL(t), p), Schema: "a", MaxConns: 1})
			require.Equal(t, errs.Invalid, errs.KindOf(err), "%v", err)
			require.ErrorContains(t, err, "pools by transaction")
			require.ErrorContains(t, err, "pool_mode")
		})
	}
}

func TestOpen_WorksWithSessionPooling(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]*pooler{
		"TakesSettings": {session: true}, "RefusesSettings": {session: true, refused: "search_path"}, "DropsSettings": {session: true, dropped: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := open(t, postgres.Config{URL: startPooler(t, pgtest.URL(t), p), Schema: "it_has_this", MaxConns: 2, LockTimeout: 17 * time.Second})
			require.Equal(t, `"it_has_this"`, text(t, db, "SHOW search_path"))
			require.Equal(t, "17s", text(t, db, "SHOW lock_timeout"))
			require.NoError(t, postgres.Migrate(t.Context(), db, "delivery", "delivery_version", fstest.MapFS{
				"00001_there.sql": {Data: []byte("-- +goose Up\nCREATE TABLE there (x int);\n-- +goose Down\nSELECT 1;\n")},
			}))
			require.Equal(t, "delivery.there", text(t, db, "SELECT to_regclass('delivery.there')::text"))
		})
	}
}

func TestOpen_ErrorNamesParameterThatProxyRefuses(t *testing.T) {
	t.Parallel()
	through := startPooler(t, pgtest.URL(t), &pooler{session: true, refused: "options"})
	_, err := postgres.Open(t.Context(), postgres.Config{URL: through + "&options=-c%20geqo%3Doff", Schema: "a", MaxConns: 1})
	require.Equal(t, errs.Invalid, errs.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "unsupported startup parameter: options")
	require.ErrorContains(t, err, "take it out of the URL")
	require.NotContains(t, err.Error(), "pool_mode")
}

// lib/pq does not report the reason that the proxy gives.
func TestOpen_ErrorNamesProxyThatEndsSession(t *testing.T) {
	t.Parallel()
	for reason, p := range map[string]*pooler{
		"transaction blocks not allowed in statement pooling mode": {ends: "BEGIN"},
		"query_wait_timeout": {session: true, ends: "pg_backend_pid"},
	} {
		p.reason = reason
		_, err := postgres.Open(t.Context(), postgres.Config{URL: startPooler(t, pgtest.URL(t), p), MaxConns: 1})
		require.Equal(t, errs.Resource, errs.KindOf(err), "%v", err)
		require.ErrorContains(t, err, "pool_mode", reason)
		require.ErrorContains(t, err, "default_pool_size", reason)
		require.NotContains(t, err.Error(), "is the server running", reason)
	}
}

func TestOpen_ErrorNamesFullProxy(t *testing.T) {
	t.Parallel()
	p := &pooler{session: true, ends: "server_version", reason: "no more connections allowed (max_client_conn)"}
	_, err := postgres.Open(t.Context(), postgres.Config{URL: startPooler(t, pgtest.URL(t), p), MaxConns: 1})
	require.ErrorContains(t, err, "max_client_conn")
	require.ErrorContains(t, err, "database.max_conns_per_module")
}

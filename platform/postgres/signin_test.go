package postgres_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
	"millrace/platform/postgres/pgurl"
)

// The server is an impostor in the place of PostgreSQL.
func TestOpen_SendsNoReadablePassword(t *testing.T) {
	t.Parallel()
	authentication := func(code uint32, more ...byte) []byte { return message('R', append(be(code), more...)) }
	cleartext, md5 := authentication(3), authentication(5, 1, 2, 3, 4)
	for name, c := range map[string]struct {
		answers [][]byte // each is one write
		query   string
		want    string
	}{
		"CleartextAtOnce":           {[][]byte{cleartext}, "", "clear text"},
		"MD5":                       {[][]byte{md5}, "", "MD5"},
		"InPieces":                  {bytes.Split(cleartext, nil), "", "clear text"},
		"BehindAnotherMessage":      {[][]byte{append(message('S', []byte("a\x00b\x00")), cleartext...)}, "", "clear text"},
		"AfterSCRAMBegan":           {[][]byte{append(authentication(10, []byte("SCRAM-SHA-256\x00\x00")...), cleartext...)}, "", ""},
		"AfterTheSignInSeemsOver":   {[][]byte{append(authentication(0), cleartext...)}, "", "clear text"},
		"WhereTLSIsNotHadButWanted": {[][]byte{cleartext}, "&sslmode=prefer", "clear text"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := pgtest.Dir(t)
			server := newImpostor(t, "unix", filepath.Join(dir, ".s.PGSQL.5432"), c.answers)
			url := "postgres://kim:canary@/shop?host=" + dir + c.query
			if c.query != "" { // lib/pq never requests TLS on a socket
				server = newImpostor(t, "tcp", "127.0.0.1:0", c.answers)
				url = "postgres://kim:canary@" + server.address + "/shop?" + c.query[1:]
			}
			_, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 1})
			require.ErrorContains(t, err, c.want)
			if c.want != "" {
				require.ErrorContains(t, err, "scram-sha-256")
			}
			require.Equal(t, errs.Resource, errs.KindOf(err))
			server.gotNoPassword()

			u, err := pgurl.Parse(url)
			require.NoError(t, err)
			db, err := u.Open()
			require.NoError(t, err)
			defer db.Close() //nolint:errcheck // it has no open connection
			require.ErrorContains(t, db.PingContext(t.Context()), c.want)
			server.gotNoPassword()
		})
	}
}

func be(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func message(kind byte, body []byte) []byte {
	return append(append([]byte{kind}, be(uint32(len(body)+4))...), body...) //nolint:gosec // a few bytes
}

// impostor is a server without TLS that answers the first packet with its answers.
type impostor struct {
	t       *testing.T
	address string
	mu      sync.Mutex
	got     bytes.Buffer
	serving int
}

func newImpostor(t *testing.T, network, address string, answers [][]byte) *impostor {
	t.Helper()
	l, err := net.Listen(network, address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	s := &impostor{t: t, address: l.Addr().String()}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			s.count(1)
			go func() {
				defer s.count(-1)
				s.serve(client, answers)
			}()
		}
	}()
	return s
}

func (s *impostor) serve(client net.Conn, answers [][]byte) {
	defer client.Close() //nolint:errcheck // closed at the end of the test
	size := make([]byte, 4)
	if _, err := io.ReadFull(client, size); err != nil {
		return
	}
	packet := make([]byte, binary.BigEndian.Uint32(size)-4)
	if _, err := io.ReadFull(client, packet); err != nil {
		return
	}
	if len(packet) == 4 { // a request for TLS, answered with no
		_, _ = client.Write([]byte("N"))
		return
	}
	s.note(packet)
	for _, answer := range answers {
		if _, err := client.Write(answer); err != nil {
			return
		}
	}
	rest := make([]byte, 1000)
	for {
		n, err := client.Read(rest)
		s.note(rest[:n])
		if err != nil {
			return
		}
	}
}

func (s *impostor) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serving += n
}

func (s *impostor) note(text []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got.Write(text)
}

// gotNoPassword checks the received bytes after the client has disconnected.
func (s *impostor) gotNoPassword() {
	s.t.Helper()
	var got string
	require.Eventually(s.t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		got = s.got.String()
		return s.serving == 0
	}, time.Minute, time.Millisecond)
	require.Contains(s.t, got, "kim", "the sign-in began")
	require.NotContains(s.t, got, "canary")
	require.NotContains(s.t, got, "md5")
}

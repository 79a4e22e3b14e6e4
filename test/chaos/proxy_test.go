//go:build chaos

package chaos_test

import (
	"bytes"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// proxy is a TCP proxy between the program and the database. It can drop the replies
// to COMMIT, let connections die silently, and hang.
type proxy struct {
	network, server string

	mu      sync.Mutex
	every   int // drop the reply to every so many-th COMMIT; 0: none
	commits int
	lost    int
	open    map[net.Conn]bool
	hanging chan struct{}     // closed when the proxy resumes; nil unless it hangs
	dead    map[net.Conn]bool // clients for which nothing is forwarded any more, in either direction
}

// newProxy starts a proxy for the database at target, and returns the URL through the proxy.
func newProxy(t *testing.T, target string) (*proxy, string) {
	t.Helper()
	u, err := url.Parse(target)
	require.NoError(t, err)
	p := &proxy{network: "tcp", server: u.Host, open: map[net.Conn]bool{}, dead: map[net.Conn]bool{}}
	if dir := u.Query().Get("host"); dir != "" {
		p.network, p.server = "unix", filepath.Join(dir, ".s.PGSQL."+u.Query().Get("port"))
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, listener.Close()); p.goOn(true) })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go p.serve(client)
		}
	}()
	return p, "postgres://" + u.User.String() + "@" + listener.Addr().String() + u.Path + "?sslmode=disable"
}

func (p *proxy) serve(client net.Conn) {
	server, err := net.Dial(p.network, p.server)
	if err != nil {
		_ = client.Close() // so that the client notices that the server is down
		return
	}
	p.mu.Lock()
	p.open[client] = true
	p.mu.Unlock()
	defer func() {
		_ = client.Close() // it may be closed already
		_ = server.Close() // as above
		p.mu.Lock()
		delete(p.open, client)
		p.mu.Unlock()
	}()
	answers := make(chan struct{}, 1) // not empty if the next reply must be dropped
	go func() {
		defer client.Close() //nolint:errcheck // as above
		p.pass(server, client, func([]byte) bool {
			select {
			case <-answers: // the server has committed, and the client does not get the reply
				p.mu.Lock()
				p.lost++
				p.mu.Unlock()
				return false
			default:
				return true
			}
		})
	}()
	p.pass(client, server, func(passing []byte) bool {
		if p.loses(passing) {
			answers <- struct{}{}
		}
		return true
	})
}

// pass copies from one connection to the other until look returns false.
func (p *proxy) pass(from, to net.Conn, look func([]byte) bool) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		p.mu.Lock()
		hanging := p.hanging
		p.mu.Unlock()
		if hanging != nil {
			<-hanging
		}
		if p.isDead(from) || p.isDead(to) {
			continue
		}
		if !look(buffer[:n]) {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// loses reports whether the data contain a COMMIT whose reply must be dropped.
func (p *proxy) loses(passing []byte) bool {
	if !bytes.Contains(passing, []byte("COMMIT\x00")) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.commits++
	return p.every > 0 && p.commits%p.every == 0
}

func (p *proxy) lose(every int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.every = every
}

func (p *proxy) losses() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

// vanish makes all open connections dead without closing them: their data are
// accepted and dropped. New connections work.
func (p *proxy) vanish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for client := range p.open {
		p.dead[client] = true
	}
}

func (p *proxy) isDead(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead[conn]
}

// hang holds all data back until goOn.
func (p *proxy) hang() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hanging = make(chan struct{})
}

// goOn forwards the data that hang held back. If broken, it closes all connections instead.
func (p *proxy) goOn(broken bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if broken {
		for client := range p.open {
			_ = client.Close() // it may be closed already
		}
	}
	if p.hanging != nil {
		close(p.hanging)
		p.hanging = nil
	}
}

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

// proxy stands between the program and the database. It can lose the answers to
// COMMIT, and it can hang.
type proxy struct {
	network, server string

	mu      sync.Mutex
	every   int // lose the answer to every so many-th COMMIT; 0: none
	commits int
	lost    int
	open    map[net.Conn]bool
	hanging chan struct{}     // closed when it goes on; nil unless it hangs
	dead    map[net.Conn]bool // clients to whom nothing passes any more, in either direction
}

// newProxy returns a proxy before target, and the URL of the database behind it.
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
		_ = client.Close() // it finds out that the server is gone
		return
	}
	p.mu.Lock()
	p.open[client] = true
	p.mu.Unlock()
	defer func() {
		_ = client.Close() // it may be closed already
		_ = server.Close() // likewise
		p.mu.Lock()
		delete(p.open, client)
		p.mu.Unlock()
	}()
	answers := make(chan struct{}, 1) // holds something when the next answer is to be lost
	go func() {
		defer client.Close() //nolint:errcheck // likewise
		p.pass(server, client, func([]byte) bool {
			select {
			case <-answers: // the server has committed, and nobody hears of it
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

// pass copies, as long as look agrees with what passes.
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

// loses tells whether this is a COMMIT whose answer is to be lost.
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

// vanish has the connections that are open die without a word: nobody is told,
// and new ones are as good as ever.
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

// hang keeps every byte to itself.
func (p *proxy) hang() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hanging = make(chan struct{})
}

// goOn passes on what was kept; or breaks all connections instead.
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

package broker

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
)

// API is the number of a kind of request in Kafka's protocol.
type API int16

// The requests whose answers tests lose.
const (
	Produce      API = 0
	Fetch        API = 1
	OffsetCommit API = 8
	JoinGroup    API = 11
	Heartbeat    API = 12
)

// Proxy stands between clients and one broker. It loses answers to what the
// broker has done, hangs, and breaks connections. It understands where a
// request and an answer begin, so it is for plain connections without TLS.
type Proxy struct {
	server   string
	listener net.Listener

	mu     sync.Mutex
	every  map[API]int // lose the answer to every so many-th request
	seen   map[API]int
	lost   map[API]int
	open   map[net.Conn]bool
	gate   chan struct{} // closed while it lets through
	closed bool
}

// NewProxy listens before the server at this address, which need not run yet.
func NewProxy(server string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		server: server, listener: listener, gate: make(chan struct{}),
		every: map[API]int{}, seen: map[API]int{}, lost: map[API]int{}, open: map[net.Conn]bool{},
	}
	close(p.gate)
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go p.serve(client)
		}
	}()
	return p, nil
}

// Addr is where clients connect.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Lose makes the answer to every so many-th request of this kind disappear: the
// broker has done it, and the client sees its connection break. 1 loses all, 0
// none. Counting begins anew.
func (p *Proxy) Lose(api API, every int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.every[api], p.seen[api] = every, 0
}

// Lost is how many answers to this kind were lost so far.
func (p *Proxy) Lost(api API) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost[api]
}

// Hang keeps every request and every answer, until GoOn: the network is away,
// and nobody says so.
func (p *Proxy) Hang() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.gate:
		p.gate = make(chan struct{})
	default: // it hangs already
	}
}

// GoOn passes on what Hang kept.
func (p *Proxy) GoOn() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.gate:
	default:
		close(p.gate)
	}
}

// Break closes all connections. New ones are let in.
func (p *Proxy) Break() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		_ = c.Close() // it may be closed already
	}
}

// Close ends it and its connections.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	err := p.listener.Close()
	p.Break()
	p.GoOn()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// admit remembers a connection so that it can be broken.
func (p *Proxy) admit(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.open[c] = true
	return true
}

func (p *Proxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.server)
	if err != nil || !p.admit(client) {
		_ = client.Close() // it finds out that the server is gone
		if server != nil {
			_ = server.Close() // nothing was sent
		}
		return
	}
	both := func() {
		_ = client.Close() // it may be closed already
		_ = server.Close() // likewise
	}
	defer func() {
		both()
		p.mu.Lock()
		delete(p.open, client)
		p.mu.Unlock()
	}()
	var mu sync.Mutex
	doomed := map[uint32]API{} // correlation ids whose answers are to be lost
	go func() {
		defer both()
		p.pass(server, client, func(head []byte) bool {
			id := binary.BigEndian.Uint32(head[4:])
			mu.Lock()
			api, lose := doomed[id]
			mu.Unlock()
			if lose {
				p.mu.Lock()
				p.lost[api]++
				p.mu.Unlock()
			}
			return !lose
		})
	}()
	p.pass(client, server, func(head []byte) bool {
		if api := API(binary.BigEndian.Uint16(head[4:])); p.loses(api) {
			mu.Lock()
			doomed[binary.BigEndian.Uint32(head[8:])] = api
			mu.Unlock()
		}
		return true
	})
}

// loses counts a request and tells whether its answer is to be lost.
func (p *Proxy) loses(api API) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[api]++
	return p.every[api] > 0 && p.seen[api]%p.every[api] == 0
}

// pass copies frames as long as look agrees. A frame is its length in four
// bytes, then kind, version and correlation id of a request, or the
// correlation id of an answer. The shortest answer has nothing after it.
func (p *Proxy) pass(from, to net.Conn, look func(head []byte) bool) {
	for {
		head := make([]byte, 12)
		if _, err := io.ReadFull(from, head[:4]); err != nil {
			return
		}
		length := int64(binary.BigEndian.Uint32(head))
		got := min(length, 8)
		if _, err := io.ReadFull(from, head[4:4+got]); err != nil {
			return
		}
		p.mu.Lock()
		gate := p.gate
		p.mu.Unlock()
		<-gate
		if !look(head) {
			return
		}
		if _, err := to.Write(head[:4+got]); err != nil {
			return
		}
		if _, err := io.CopyN(to, from, length-got); err != nil {
			return
		}
	}
}

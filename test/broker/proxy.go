package broker

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
)

// API is an API key of Kafka's protocol: the kind of a request.
type API int16

// The requests whose replies tests drop.
const (
	Produce      API = 0
	Fetch        API = 1
	OffsetCommit API = 8
	JoinGroup    API = 11
	Heartbeat    API = 12
)

// Proxy is a TCP proxy in front of one broker. It can drop replies to requests that the
// broker has executed, hang, and break connections. It parses the protocol's frames,
// so it works only without TLS.
type Proxy struct {
	server   string
	listener net.Listener

	mu     sync.Mutex
	every  map[API]int // drop the reply to every so many-th request
	seen   map[API]int
	lost   map[API]int
	open   map[net.Conn]bool
	gate   chan struct{} // closed while data pass
	closed bool
}

// NewProxy starts a proxy for the server at this address, which need not run yet.
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

// Lose drops the reply to every so many-th request of this kind, and closes the
// client's connection: the broker has executed the request. 1 drops all replies, 0
// none. The count of requests restarts at zero.
func (p *Proxy) Lose(api API, every int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.every[api], p.seen[api] = every, 0
}

// Lost returns how many replies to this kind of request were dropped so far.
func (p *Proxy) Lost(api API) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost[api]
}

// Hang holds back all requests and replies until GoOn, like a network that drops
// packets silently.
func (p *Proxy) Hang() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.gate:
		p.gate = make(chan struct{})
	default: // it hangs already
	}
}

// GoOn forwards what Hang held back, and ends Hang.
func (p *Proxy) GoOn() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.gate:
	default:
		close(p.gate)
	}
}

// Break closes all connections. New ones are accepted.
func (p *Proxy) Break() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		_ = c.Close() // it may be closed already
	}
}

// Close ends the proxy and its connections.
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

// admit registers a connection for Break. It reports false if the proxy is closed.
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
		_ = client.Close() // so that the client notices that the server is down
		if server != nil {
			_ = server.Close() // nothing was sent
		}
		return
	}
	both := func() {
		_ = client.Close() // it may be closed already
		_ = server.Close() // as above
	}
	defer func() {
		both()
		p.mu.Lock()
		delete(p.open, client)
		p.mu.Unlock()
	}()
	var mu sync.Mutex
	doomed := map[uint32]API{} // correlation ids whose replies must be dropped
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

// loses counts a request and reports whether its reply must be dropped.
func (p *Proxy) loses(api API) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[api]++
	return p.every[api] > 0 && p.seen[api]%p.every[api] == 0
}

// pass copies frames until look returns false. A frame is its length in four bytes,
// and then a request, which starts with API key, version and correlation id, or a
// reply, which starts with the correlation id and may have nothing else.
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

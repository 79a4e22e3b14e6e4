package web

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	admissionWait = time.Second           // how long a request waits for a slot
	minStay       = 50 * time.Millisecond // minimum time for a client's next request before its connection may be closed for another
	noteEvery     = time.Minute           // interval between two log lines about the same limit
)

// probeRequests limits the concurrent requests of each probe. They are separate
// from other requests, so probes answer while those are refused.
var probeRequests = map[string]int{"/livez": 8, "/readyz": 8, "/metrics": 2}

// Limits bounds the requests and connections that the server handles at the
// same time, and so its memory. Use one Limits for all handlers of a [Server].
//
// Requests: a request occupies a slot from the arrival of its body to the start
// of its answer, so slow clients do not occupy slots. A request without a free
// slot waits up to a second and is then refused with 503 and Retry-After.
// /livez, /readyz and /metrics each have their own limit.
//
// Connections: when the limit is reached, a new connection is accepted and the
// one that has waited longest for its client is closed, whether idle or in the
// middle of a slow request or answer. Each connection is kept for at least 50
// ms; until then the new one waits. A connection whose request is being handled
// is never closed.
type Limits struct {
	log      *slog.Logger
	requests chan struct{}
	probes   map[string]chan struct{}

	refused, closed         atomic.Int64
	refusedNote, closedNote atomic.Int64 // time of the last log line, in Unix nanoseconds

	mu             sync.Mutex
	maxConnections int
	connections    map[*connection]struct{}
}

// NewLimits limits concurrent requests and connections. connections must be
// larger than requests plus the slots of all probes.
func NewLimits(log *slog.Logger, requests, connections int) *Limits {
	l := &Limits{
		log: log, requests: make(chan struct{}, requests), probes: map[string]chan struct{}{},
		maxConnections: connections, connections: map[*connection]struct{}{},
	}
	for path, allowance := range probeRequests {
		l.probes[path] = make(chan struct{}, allowance)
	}
	return l
}

// Refused returns the number of requests that were refused because no slot was
// free.
func (l *Limits) Refused() int64 { return l.refused.Load() }

// Closed returns the number of connections that were closed because the limit
// was reached.
func (l *Limits) Closed() int64 { return l.closed.Load() }

// admit calls next when a slot is free.
func (l *Limits) admit(next http.Handler) http.Handler {
	if l == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		slots, isProbe := l.probes[r.URL.Path]
		if !isProbe {
			slots = l.requests
		}
		if !take(r.Context(), slots) {
			if total := l.refused.Add(1); isDue(&l.refusedNote) {
				l.log.WarnContext(r.Context(), "requests refused: too many are in work", "refused", total, "limit", cap(slots))
			}
			w.Header().Set("Retry-After", "1")
			writeProblem(w, r, http.StatusServiceUnavailable, "too many requests are in work; repeat the request later")
			return
		}
		conn, _ := r.Context().Value(connectionKey{}).(*connection)
		conn.setWorking(true)
		release := sync.OnceFunc(func() {
			<-slots
			conn.setWorking(false)
		})
		defer release()
		next.ServeHTTP(&releasing{w, release}, r)
	})
}

func take(ctx context.Context, slots chan struct{}) bool {
	select {
	case slots <- struct{}{}:
		return true
	default:
	}
	timeout := time.NewTimer(admissionWait)
	defer timeout.Stop()
	select {
	case slots <- struct{}{}:
		return true
	case <-timeout.C:
	case <-ctx.Done():
	}
	return false
}

// isDue reports whether noteEvery has passed since the last log line, and if so
// sets last to now.
func isDue(last *atomic.Int64) bool {
	now, before := time.Now().UnixNano(), last.Load()
	return now-before >= int64(noteEvery) && last.CompareAndSwap(before, now)
}

// releasing calls release when the answer starts. From then on the time depends
// on the client.
type releasing struct {
	http.ResponseWriter
	release func()
}

func (w *releasing) WriteHeader(status int) {
	if status >= http.StatusOK { // 1xx responses are not the answer
		w.release()
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *releasing) Write(b []byte) (int, error) {
	w.release()
	return w.ResponseWriter.Write(b)
}

// Unwrap gives http.ResponseController access to the connection.
func (w *releasing) Unwrap() http.ResponseWriter { return w.ResponseWriter }

type connectionKey struct{}

// connection is a connection that a limitedListener accepted.
type connection struct {
	net.Conn
	limits  *Limits
	working bool      // working and since are guarded by limits.mu
	since   time.Time // start of the current state
}

// setWorking does nothing for a request without such a connection.
func (c *connection) setWorking(working bool) {
	if c == nil {
		return
	}
	c.limits.mu.Lock()
	defer c.limits.mu.Unlock()
	c.working, c.since = working, time.Now()
}

// Close may be called more than once.
func (c *connection) Close() error {
	c.limits.mu.Lock()
	delete(c.limits.connections, c)
	c.limits.mu.Unlock()
	return c.Conn.Close()
}

type limitedListener struct {
	net.Listener
	limits *Limits
}

func (l *limitedListener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.limits.add(accepted), nil
}

// add registers a new connection, and closes another if the limit is reached.
func (l *Limits) add(accepted net.Conn) *connection {
	added := &connection{Conn: accepted, limits: l}
	for {
		replaced, wait := l.tryAdd(added)
		if wait > 0 {
			<-time.After(wait) // further connections wait in the system's queue
			continue
		}
		if replaced != nil {
			l.replace(replaced)
		}
		return added
	}
}

// tryAdd registers the connection and returns the one to close for it, or nil
// if there is room. If no connection may be closed yet, it returns how long to
// wait before the next attempt.
func (l *Limits) tryAdd(added *connection) (replaced *connection, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.connections) >= l.maxConnections {
		for c := range l.connections {
			if !c.working && (replaced == nil || c.since.Before(replaced.since)) {
				replaced = c
			}
		}
		if replaced == nil {
			return nil, minStay
		}
		if wait = minStay - time.Since(replaced.since); wait > 0 {
			return nil, wait
		}
		delete(l.connections, replaced)
	}
	added.since = time.Now()
	l.connections[added] = struct{}{}
	return replaced, 0
}

func (l *Limits) replace(c *connection) {
	_ = c.Close() // does not wait for the client
	if total := l.closed.Add(1); isDue(&l.closedNote) {
		l.log.Warn("connections closed: too many are open", "closed", total, "limit", l.maxConnections)
	}
}

// track records that a client starts a request or has received its answer.
func (l *Limits) track(c net.Conn, state http.ConnState) {
	if own, ok := c.(*connection); ok && (state == http.StateActive || state == http.StateIdle) {
		own.setWorking(false)
	}
}

// bound applies the limits to a server and returns the listener for it.
func (l *Limits) bound(server *http.Server, listener net.Listener) net.Listener {
	if l == nil {
		return listener
	}
	server.ConnState = l.track
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, connectionKey{}, c)
	}
	return &limitedListener{listener, l}
}

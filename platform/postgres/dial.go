package postgres

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// dialer notices a server that vanished without a word: by unacknowledged bytes
// when it is being spoken to, by keep-alives when it is being listened to. Both
// take userTimeout, not the kernel's quarter of an hour. If something between
// goes on acknowledging what it no longer passes on, neither helps: then nothing
// comes within answer, which is longer than a statement may take. (A connection
// of a pool reads only when it waits for an answer.)
type dialer struct{ userTimeout, answer time.Duration }

func (d dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

func (d dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	inner := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: d.userTimeout / 2, Interval: d.userTimeout / 8, Count: 4},
		Control: func(network, _ string, c syscall.RawConn) error {
			if !strings.HasPrefix(network, "tcp") {
				return nil
			}
			return giveUp(c, d.userTimeout)
		},
	}
	conn, err := inner.DialContext(ctx, network, address)
	if err != nil || d.answer == 0 {
		return conn, err
	}
	return &awaiting{Conn: conn, limit: d.answer}, nil
}

// awaiting is a connection on which something must come within limit whenever it
// is waited for.
type awaiting struct {
	net.Conn
	limit time.Duration
	fixed atomic.Bool // a deadline of the driver's own is in force
}

func (a *awaiting) Read(b []byte) (int, error) {
	if !a.fixed.Load() {
		if err := a.Conn.SetReadDeadline(time.Now().Add(a.limit)); err != nil {
			return 0, err
		}
	}
	return a.Conn.Read(b)
}

func (a *awaiting) SetDeadline(t time.Time) error {
	a.fixed.Store(!t.IsZero())
	return a.Conn.SetDeadline(t)
}

func (a *awaiting) SetReadDeadline(t time.Time) error {
	a.fixed.Store(!t.IsZero())
	return a.Conn.SetReadDeadline(t)
}

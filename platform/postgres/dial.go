package postgres

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"millrace/platform/postgres/signin"
)

// dialer makes connections that notice a server that has vanished.
//
//   - While bytes are unacknowledged, TCP_USER_TIMEOUT closes the connection after
//     userTimeout instead of the kernel's 15 minutes.
//   - While the connection is idle, keep-alives do the same.
//   - If a proxy acknowledges bytes but does not forward them, a read fails after
//     answer, which is longer than a statement may take. (A pool's connection reads
//     only while it waits for an answer.)
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
	if err != nil {
		return nil, err
	}
	conn = signin.Guard(conn)
	if d.answer == 0 {
		return conn, nil
	}
	return &awaiting{Conn: conn, limit: d.answer}, nil
}

// awaiting is a connection on which each read must return within limit.
type awaiting struct {
	net.Conn
	limit time.Duration
	fixed atomic.Bool // the driver has set a deadline itself
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

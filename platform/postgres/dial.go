package postgres

import (
	"context"
	"net"
	"strings"
	"syscall"
	"time"
)

// dialer notices a server that vanished without a word: by unacknowledged bytes
// when it is being spoken to, by keep-alives when it is being listened to. Both
// take userTimeout, not the kernel's quarter of an hour.
type dialer struct{ userTimeout time.Duration }

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
	return inner.DialContext(ctx, network, address)
}

package kafkatransport

import (
	"fmt"
	"net"
	"syscall"
	"time"

	"millrace/platform/loopback"
)

// localDialer connects to this machine only. Config.Brokers are only the first
// brokers: they name others, and a password that is sent as it is must not go to
// those. It judges the host and the address that the host was resolved to.
type localDialer struct{ timeout time.Duration }

func (d localDialer) Dial(network, address string) (net.Conn, error) {
	if host, _, err := net.SplitHostPort(address); err != nil || !loopback.Host(host) {
		return nil, notLocal(address)
	}
	dialer := net.Dialer{Timeout: d.timeout, Control: func(_, resolved string, _ syscall.RawConn) error {
		if host, _, err := net.SplitHostPort(resolved); err != nil || !loopback.Host(host) {
			return notLocal(resolved)
		}
		return nil
	}}
	return dialer.Dial(network, address)
}

func notLocal(address string) error {
	return fmt.Errorf("the broker %s is not on this machine, and SASL %s would send it the password as it is: switch TLS on", address, Plain)
}

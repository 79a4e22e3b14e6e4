package kafkabridge

import (
	"fmt"
	"net"
	"syscall"
	"time"

	"millrace/platform/loopback"
)

// localDialer connects to this machine only: to a loopback host that resolves to a loopback
// address. Config.Brokers are only the first brokers: they name others, which must not get a
// password in plain text.
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

// Package loopback decides which hosts are on this machine.
package loopback

import "net"

// Host reports whether host is a literal loopback address, without brackets, or
// localhost. Other names do not count, because their address may change.
func Host(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Package ports reserves a TCP port on the loopback interface for a test that starts a
// program repeatedly. The port stays reserved until the test ends, even while no
// program listens on it. It is below the range of ephemeral ports, so that no
// outgoing connection takes it. The package holds the UDP port of the same number as
// a lock, so that no other test gets the port, in this process or another. Programs
// that do not use this package can still take it.
package ports

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

const first, many = 20_000, 10_000

// Of returns the address of a port on 127.0.0.1 that is reserved until the test ends.
func Of(t testing.TB) (address string) {
	t.Helper()
	for range 100 {
		if at := "127.0.0.1:" + strconv.Itoa(first+rand.IntN(many)); take(t, at) {
			return at
		}
	}
	require.FailNow(t, "no port is free")
	return ""
}

// take reserves a port. It reports false if the port is reserved already or in use.
func take(t testing.TB, at string) bool {
	t.Helper()
	mark, err := net.ListenPacket("udp", at) //nolint:noctx // does not block
	if err != nil {
		return false
	}
	l, err := net.Listen("tcp", at) //nolint:noctx // it is closed at once
	if err != nil {
		require.NoError(t, mark.Close())
		return false
	}
	require.NoError(t, l.Close())
	t.Cleanup(func() { require.NoError(t, mark.Close()) })
	return true
}

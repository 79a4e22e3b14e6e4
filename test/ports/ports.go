// Package ports gives a test a TCP port of the loopback for the programs that it
// starts, ends and starts again: the port is the test's until its end, whether a
// program listens there or not. It is below those that a system hands out, so
// that nobody's outgoing connection takes it, and marked by the UDP port of the
// same number, so that no other test does, in this process or another. A program
// that knows nothing of the mark can still take it.
package ports

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

const first, many = 20_000, 10_000

// Of returns 127.0.0.1 with a port that is the test's alone.
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

// take marks a port, if nobody has marked it and nobody listens there.
func take(t testing.TB, at string) bool {
	t.Helper()
	mark, err := net.ListenPacket("udp", at) //nolint:noctx // nothing is waited for
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

package ports

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOf_ReservesThePortUntilTheTestEnds(t *testing.T) {
	var at string
	t.Run("one", func(t *testing.T) {
		at = Of(t)
		require.False(t, take(t, at), "another test has it, though nobody listens")
		l, err := net.Listen("tcp", at)
		require.NoError(t, err, "the program that it is for")
		require.NoError(t, l.Close())
	})
	require.True(t, take(t, at), "the next")
}

func TestOf_SkipsAPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	require.False(t, take(t, l.Addr().String()))
}

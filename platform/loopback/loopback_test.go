package loopback_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/loopback"
)

func TestHost_AcceptsOnlyLiteralAddressesAndLocalhost(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"127.0.0.1", "127.9.8.7", "::1", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1", "localhost"} {
		require.True(t, loopback.Host(host), host)
	}
	for _, host := range []string{
		"", "0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1", "fe80::1", "127.1", "0127.0.0.1", "2130706433",
		"localhost.evil.example", "127.0.0.1.nip.io", "ip6-localhost", "kafka", "[::1]", "127.0.0.1:9092",
	} {
		require.False(t, loopback.Host(host), host)
	}
}

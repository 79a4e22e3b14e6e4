//go:build slow

package pgtest_test

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestServer_IsOfTheMajorVersionOfTheVariable(t *testing.T) {
	t.Parallel()
	child, address, rest := play(t, "wait", "MILLRACE_TEST_DATABASE_URL=", "MILLRACE_TEST_POSTGRES_MAJOR=18")
	require.Equal(t, "18", query(t, address, "SELECT current_setting('server_version_num')::int / 10000"))
	require.NoError(t, child.Process.Kill())
	_, _ = io.Copy(io.Discard, rest) // until it has ended
}

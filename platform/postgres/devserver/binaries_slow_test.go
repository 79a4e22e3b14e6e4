//go:build slow

package devserver_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// It unpacks a whole PostgreSQL.
func TestDownload_HappensOnceAndIsChecked(t *testing.T) {
	t.Parallel()
	cfg, asked := repository(t)
	cfg.Template = ""
	for range 2 {
		server := start(t, cfg)
		require.Equal(t, "1", value(t, connect(t, server, "postgres"), "SELECT 1"))
		require.NoError(t, server.Stop())
	}
	require.Equal(t, int32(1), asked.Load(), "one archive for both starts, and no sum of the repository's")
}

//go:build slow

package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/cmd/millrace/app"
)

func TestDemo_SplitLosesNothingWhenEachProcessIsKilled(t *testing.T) {
	t.Parallel()
	code, printed, result := playDemo(t, "--split", "--count", "40", "--kill", "1", "--seed", "3")
	require.Zero(t, code, printed)
	require.True(t, result.OK)
	require.EqualValues(t, len(app.Modules()), result.Kills)
	require.Equal(t, 40, result.Orders)
	require.Zero(t, result.Lost)
	require.Zero(t, result.Doubled)
	for _, name := range app.Modules() {
		require.Contains(t, printed, ", of "+name+",", "each was killed")
	}
}

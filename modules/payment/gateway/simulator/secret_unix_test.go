//go:build unix

package simulator

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestKeptSecret_RejectsFileReadableByOthers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "simulator.secret")
	_, err := KeptSecret(path)
	require.NoError(t, err)
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660, 0o602} {
		require.NoError(t, os.Chmod(path, mode))
		_, err = KeptSecret(path)
		require.ErrorContains(t, err, path)
		require.ErrorContains(t, err, "chmod 600")
	}
}

//go:build unix

package devserver

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
)

func TestAFolderThatTheServersUserCannotReachIsNamedWithItsSetting(t *testing.T) {
	t.Parallel()
	closed := filepath.Join(t.TempDir(), "closed")
	inside := filepath.Join(closed, "data")
	require.NoError(t, os.MkdirAll(inside, 0o755))
	require.NoError(t, os.Chmod(closed, 0o700))
	stranger := account{uid: 54321, gid: 54321, other: true}
	err := stranger.canReach(inside, "data_dir")
	require.Equal(t, errs.Invalid, errs.KindOf(err))
	require.Equal(t, "data_dir", errs.FieldOf(err))
	require.ErrorContains(t, err, closed+" (mode 0700)")
	require.NoError(t, account{uid: os.Getuid(), gid: os.Getgid()}.canReach(inside, "data_dir"))
}

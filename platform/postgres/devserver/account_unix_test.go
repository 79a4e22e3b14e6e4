//go:build unix

package devserver

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
)

func TestServerUser_UnreachableFolderErrorNamesSetting(t *testing.T) {
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

func openRoot(t *testing.T, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, root.Close()) })
	return root
}

func TestServerUser_RefusesClusterOfAnotherOwner(t *testing.T) {
	t.Parallel()
	dir := openRoot(t, t.TempDir())
	stranger := account{uid: 54321, gid: 54321}
	require.NoError(t, stranger.mayServe(dir, "data_dir"), "there is none")
	require.NoError(t, dir.Mkdir(clusterName, 0o700))
	err := stranger.mayServe(dir, "data_dir")
	require.Equal(t, "data_dir", errs.FieldOf(err))
	require.ErrorContains(t, err, filepath.Join(dir.Name(), clusterName)+" belongs to ")
	require.NoError(t, account{uid: os.Getuid(), gid: os.Getgid()}.mayServe(dir, "data_dir"))
}

func TestServerUser_IsFolderOwnerForRoot(t *testing.T) {
	t.Parallel()
	dir := openRoot(t, t.TempDir())
	require.NotZero(t, serverUser(dir).uid)
	if os.Geteuid() != 0 { // for other users it is always themselves
		require.Equal(t, account{uid: os.Geteuid(), gid: os.Getegid()}, serverUser(dir))
		return
	}
	require.Equal(t, anybody(), serverUser(dir), "a folder of root's")
	require.NoError(t, os.Lchown(dir.Name(), 54321, 54322))
	require.Equal(t, account{uid: 54321, gid: 54322, other: true}, serverUser(dir))
	require.NoError(t, dir.Mkdir(clusterName, 0o700))
	require.NoError(t, dir.Lchown(clusterName, 54323, 54324))
	require.Equal(t, account{uid: 54323, gid: 54324, other: true}, serverUser(dir), "the cluster's comes first")
}

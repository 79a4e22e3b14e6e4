package datadir_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/datadir"
	"millrace/platform/errs"
)

func TestPrepare_CreatesFoldersAndLeavesThemEmpty(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b, 'c' %41 퍼센트")
	for range 2 {
		require.NoError(t, datadir.Prepare(dir, "data_dir", 0o750))
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestPrepare_NamesFolderAndFix(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	in := func(name string) string { return filepath.Join(home, name) }
	require.NoError(t, os.WriteFile(in("file"), nil, 0o600))
	require.NoError(t, os.Symlink("nowhere", in("dangling")))
	require.NoError(t, os.Symlink("loop", in("loop")))
	for dir, want := range map[string]string{
		in("file"):                   in("file") + " is not a folder: move it away",
		in("file/below/it"):          in("file") + " is not a folder: move it away",
		in("dangling"):               in("dangling") + " is a symbolic link to something that does not exist",
		in("dangling/below"):         in("dangling") + " is a symbolic link to something that does not exist",
		in("loop"):                   in("loop") + " is a symbolic link that leads back to itself",
		in("loop/below"):             in("loop") + " is a symbolic link that leads back to itself",
		in(strings.Repeat("n", 300)): "is too long for a path",
		in(strings.Repeat("folder/", 800) + "end"): "is too long for a path",
	} {
		err := datadir.Prepare(dir, "data_dir", 0o755)
		require.Equal(t, errs.Invalid, errs.KindOf(err), dir)
		require.Equal(t, "data_dir", errs.FieldOf(err), dir)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "name another folder")
	}
	_, err := os.Lstat(in("nowhere"))
	require.ErrorIs(t, err, fs.ErrNotExist, "the target of a link is not created")
}

func TestExplain_NamesTheSystemError(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(cause error) error { return &fs.PathError{Op: "open", Path: dir, Err: cause} }
	for want, cause := range map[string]error{
		"mounted read-only": syscall.EROFS, "cannot be written by user": syscall.EACCES, "chmod u+rwx": syscall.EPERM,
	} {
		err := datadir.Explain(at(cause), dir, "data_dir")
		require.Equal(t, errs.Invalid, errs.KindOf(err))
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, dir)
	}
	for _, cause := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		err := datadir.Explain(at(cause), dir, "data_dir")
		require.Equal(t, errs.Resource, errs.KindOf(err))
		require.ErrorContains(t, err, "is full: free some space, or move the data with data_dir")
	}
	require.NoError(t, datadir.Explain(nil, dir, "data_dir"))
	other := at(syscall.EIO)
	require.Equal(t, other, datadir.Explain(other, dir, "data_dir"))
}

// A link or a second name of another file is planted at the path of the file to
// be written.
func TestWriteFile_DoesNotFollowPlantedLinks(t *testing.T) {
	t.Parallel()
	for name, plant := range map[string]func(from, to string) error{"Link": os.Symlink, "HardLink": os.Link} {
		for _, at := range []string{"written", "written.new"} {
			t.Run(name+at, func(t *testing.T) {
				t.Parallel()
				dir, victim := t.TempDir(), filepath.Join(t.TempDir(), "victim")
				require.NoError(t, os.WriteFile(victim, []byte("untouched"), 0o644))
				require.NoError(t, plant(victim, filepath.Join(dir, at)))
				path := filepath.Join(dir, "written")
				require.NoError(t, datadir.WriteFile(path, []byte("one")))
				created, err := datadir.Create(path + ".log")
				require.NoError(t, err)
				require.NoError(t, created.Close())
				for file, want := range map[string]string{victim: "untouched", path: "one", path + ".log": ""} {
					text, err := os.ReadFile(file)
					require.NoError(t, err)
					require.Equal(t, want, string(text), file)
				}
				info, err := os.Lstat(path)
				require.NoError(t, err)
				if runtime.GOOS != "windows" {
					require.Equal(t, fs.FileMode(0o600), info.Mode(), "readable by its owner only")
				}
			})
		}
	}
}

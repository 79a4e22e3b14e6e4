//go:build unix

package datadir_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"millrace/platform/datadir"
	"millrace/platform/errs"
)

const stranger = 54321 // the ID of a user who is neither root nor the current user

func folder(t *testing.T, path string, uid int, mode os.FileMode) string {
	t.Helper()
	require.NoError(t, os.Mkdir(path, 0o700))
	require.NoError(t, os.Chmod(path, mode))
	if os.Geteuid() == 0 {
		require.NoError(t, os.Chown(path, uid, uid))
	}
	return path
}

func requireRefused(t *testing.T, err error, want ...string) {
	t.Helper()
	require.Equal(t, errs.Invalid, errs.KindOf(err), err)
	require.Equal(t, "data_dir", errs.FieldOf(err))
	for _, part := range append(want, "name another folder") {
		require.ErrorContains(t, err, part)
	}
}

// The folder belongs to another user or to the current one.
func TestPrepare_RefusesFolderWritableByOthers(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	for _, uid := range []int{os.Geteuid(), stranger} {
		for _, mode := range []os.FileMode{0o777, 0o777 | os.ModeSticky, 0o702} {
			dir := folder(t, filepath.Join(home, "data"), uid, mode)
			requireRefused(t, datadir.Prepare(dir, "data_dir", 0o700), dir, "lets other users write to it", "chmod go-w")
			below := filepath.Join(dir, "below")
			requireRefused(t, datadir.PrepareBelow(dir, "below", "data_dir", 0o700), dir)
			require.NoDirExists(t, below)
			require.NoError(t, datadir.Prepare(below, "data_dir", 0o700), "a private folder in it is accepted")
			require.NoError(t, os.RemoveAll(dir))
		}
	}
}

// A link in a data folder is refused, even if it leads to a folder in it. The
// data folder itself may be a link.
func TestPrepareBelow_RefusesPlantedLink(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	victim := folder(t, filepath.Join(home, "victim"), os.Geteuid(), 0o700)
	dir := folder(t, filepath.Join(home, "data"), stranger, 0o755)
	folder(t, filepath.Join(dir, "own"), stranger, 0o755)
	for name, target := range map[string]string{"postgres": victim, "dataplatform": "own", "dangling": "nothing"} {
		require.NoError(t, os.Symlink(target, filepath.Join(dir, name)))
		requireRefused(t, datadir.PrepareBelow(dir, name, "data_dir", 0o700), filepath.Join(dir, name)+" is a symbolic link")
	}
	require.NoError(t, datadir.PrepareBelow(dir, "own", "data_dir", 0o700))
	link := filepath.Join(home, "link")
	require.NoError(t, os.Symlink(dir, link))
	require.NoError(t, datadir.PrepareBelow(link, "own", "data_dir", 0o700))
	require.NoDirExists(t, filepath.Join(dir, "nothing"))
	if os.Geteuid() != 0 {
		return // only root can create a link of another user
	}
	require.NoError(t, os.Lchown(link, stranger, stranger))
	requireRefused(t, datadir.PrepareBelow(link, "own", "data_dir", 0o700), link+" is a symbolic link of user 54321")
	third := folder(t, filepath.Join(dir, "third"), stranger+1, 0o755)
	requireRefused(t, datadir.PrepareBelow(dir, "third", "data_dir", 0o700), third+" belongs to user 54322")
}

// The new owner is the owner of the opened folder, even if another folder has
// its path by then.
func TestAdopt_UsesOwnerOfOpenedFolder(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		return // only root can change owners
	}
	home := t.TempDir()
	path := folder(t, filepath.Join(home, "data"), 0, 0o700)
	dir, err := datadir.Open(path, 0o700)
	require.NoError(t, err)
	defer dir.Close() //nolint:errcheck // nothing is buffered in it
	require.NoError(t, os.Rename(path, filepath.Join(home, "moved")))
	folder(t, path, stranger, 0o700)
	f, err := datadir.CreateIn(dir, "secret")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	info, err := os.Stat(filepath.Join(home, "moved", "secret"))
	require.NoError(t, err)
	require.EqualValues(t, 0, info.Sys().(*syscall.Stat_t).Uid)
}

// Planted are a link, a file with a second name, and a pipe, which would block
// the reader.
func TestReadFile_RefusesPlantedFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	require.NoError(t, os.WriteFile(secret, []byte("secret"), 0o600))
	in := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.Symlink("secret", in("link")))
	require.NoError(t, syscall.Mkfifo(in("pipe"), 0o600))
	require.NoError(t, os.WriteFile(in("first"), nil, 0o600))
	require.NoError(t, os.Link(in("first"), in("second")))
	for name, want := range map[string]string{"link": "is a symbolic link", "pipe": "is not a file", "second": "has another name"} {
		failed := make(chan error, 1)
		go func() {
			_, err := datadir.ReadFile(in(name), 100)
			failed <- err
		}()
		select {
		case err := <-failed:
			require.ErrorContains(t, err, want)
			require.ErrorContains(t, err, in(name))
		case <-time.After(10 * time.Second):
			require.Fail(t, "it waits for the other end of a pipe")
		}
	}
	text, err := datadir.ReadFile(secret, 3)
	require.NoError(t, err)
	require.Equal(t, "sec", string(text))
}

// When several processes of root start at once, one creates the folder, and no
// other process sees it before PostgreSQL's user may enter it.
func TestOpen_WaitsForFolderBeingCreatedByAnotherProcess(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		return // for other users the umask decides the mode
	}
	dir := t.TempDir()
	for round := range 300 {
		var at sync.WaitGroup
		modes := make(chan os.FileMode, 4)
		for range cap(modes) {
			at.Go(func() {
				made, err := datadir.Open(filepath.Join(dir, strconv.Itoa(round)), 0o700)
				if !assert.NoError(t, err) {
					return
				}
				info, err := made.Stat(".")
				if assert.NoError(t, errors.Join(err, made.Close())) {
					modes <- info.Mode().Perm()
				}
			})
		}
		at.Wait()
		close(modes)
		for mode := range modes {
			require.Equal(t, os.FileMode(0o711), mode)
		}
	}
}

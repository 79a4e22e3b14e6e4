//go:build unix

package privatedir_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/privatedir"
)

// wanted returns the mode of a private folder of the current user.
func wanted() fs.FileMode {
	if os.Geteuid() == 0 {
		return 0o711
	}
	return 0o700
}

func modeOf(t *testing.T, dir string) fs.FileMode {
	t.Helper()
	info, err := os.Lstat(dir)
	require.NoError(t, err)
	return info.Mode().Perm()
}

func TestMake_CreatesFolderThatOnlyItsOwnerWrites(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b")
	for range 2 {
		made, err := privatedir.Make(dir)
		require.NoError(t, err)
		require.Equal(t, wanted(), modeOf(t, made))
	}
}

func TestMake_RemovesReadAccessOfOthers(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "kept")
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, os.Chmod(dir, 0o755))
	_, err := privatedir.Make(dir)
	require.NoError(t, err)
	require.Equal(t, wanted(), modeOf(t, dir))
}

func TestMake_RefusesPlantedFolders(t *testing.T) {
	t.Parallel()
	planted := map[string]func(t *testing.T, dir string) string{ // each returns the folder to be passed to Make
		"AnotherUsersFolder": func(*testing.T, string) string { return "/usr" },
		"LinkToFolderOfOurs": func(t *testing.T, dir string) string {
			require.NoError(t, os.Symlink(t.TempDir(), dir))
			return dir
		},
		"LinkToNothing": func(t *testing.T, dir string) string {
			require.NoError(t, os.Symlink(filepath.Join(t.TempDir(), "none"), dir))
			return dir
		},
		"File": func(t *testing.T, dir string) string {
			require.NoError(t, os.WriteFile(dir, nil, 0o600))
			return dir
		},
		"GroupWritable":         func(t *testing.T, dir string) string { return folder(t, dir, 0o770) },
		"WorldWritable":         func(t *testing.T, dir string) string { return folder(t, dir, 0o777|fs.ModeSticky) },
		"InWorldWritableFolder": func(t *testing.T, dir string) string { return filepath.Join(folder(t, dir, 0o777), "kept") },
	}
	if os.Geteuid() == 0 { // only root can create folders of other users
		given := func(t *testing.T, dir string, mode fs.FileMode, uid, gid int) string {
			folder(t, dir, mode)
			require.NoError(t, os.Chown(dir, uid, gid))
			return dir
		}
		planted["AnotherUsersFolder"] = func(t *testing.T, dir string) string { return given(t, dir, 0o711, 12345, 12345) }
		planted["InAnotherUsersFolder"] = func(t *testing.T, dir string) string {
			return filepath.Join(given(t, dir, 0o755, 12345, 12345), "kept")
		}
		planted["InFolderThatAnotherGroupWrites"] = func(t *testing.T, dir string) string {
			return filepath.Join(given(t, dir, 0o775, 0, 12345), "kept")
		}
	}
	for name, plant := range planted {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := plant(t, filepath.Join(t.TempDir(), "planted"))
			_, err := privatedir.Make(dir)
			require.ErrorIs(t, err, privatedir.ErrRefused)
			require.ErrorContains(t, err, filepath.Base(dir), "the folder is named")
			require.ErrorContains(t, err, "set XDG_CACHE_HOME and TMPDIR", "the next step is named")
		})
	}
}

func folder(t *testing.T, dir string, mode fs.FileMode) string {
	t.Helper()
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, os.Chmod(dir, mode))
	return dir
}

func TestMake_AcceptsLinkInParentPath(t *testing.T) {
	t.Parallel()
	home, elsewhere := t.TempDir(), t.TempDir()
	require.NoError(t, os.Symlink(elsewhere, filepath.Join(home, "cache")))
	made, err := privatedir.Make(filepath.Join(home, "cache", "millrace"))
	require.NoError(t, err)
	resolved, err := filepath.EvalSymlinks(elsewhere)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(resolved, "millrace"), made)
}

func TestMake_ConcurrentCallsReturnSamePath(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "kept")
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			if _, err := privatedir.Make(dir); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestTemp_IsNewEachTime(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	one, err := privatedir.Temp(base, "run-")
	require.NoError(t, err)
	other, err := privatedir.Temp(base, "run-")
	require.NoError(t, err)
	require.NotEqual(t, one, other)
	require.Equal(t, wanted(), modeOf(t, one))
}

func TestCache_IsInUsersCacheFolder(t *testing.T) {
	home := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", filepath.Join(home, "xdg"))
	t.Setenv("HOME", home)
	dir, err := privatedir.Cache("kept")
	require.NoError(t, err)
	require.Contains(t, dir, home)
	require.Equal(t, filepath.Join("millrace", "kept"), filepath.Join(filepath.Base(filepath.Dir(dir)), filepath.Base(dir)))
	require.Equal(t, wanted(), modeOf(t, filepath.Dir(dir)))
	require.Equal(t, wanted(), modeOf(t, dir))
}

// Without a home, or with one that cannot be written, Cache uses a predictable
// name. It refuses what another user planted there.
func TestCache_ChecksFallbackWithoutHome(t *testing.T) {
	temporary := t.TempDir()
	blocked := filepath.Join(temporary, "file")
	require.NoError(t, os.WriteFile(blocked, nil, 0o600))
	t.Setenv("TMPDIR", temporary)
	t.Setenv("HOME", blocked)
	t.Setenv("XDG_CACHE_HOME", filepath.Join(blocked, "cache")) // cannot be created, even by root
	dir, err := privatedir.Cache("kept")
	require.NoError(t, err)
	require.Equal(t, filepath.Join(privatedir.PerUser(temporary, "millrace"), "kept"), dir)

	require.NoError(t, os.RemoveAll(filepath.Dir(dir)))
	require.NoError(t, os.Symlink(t.TempDir(), filepath.Dir(dir)))
	_, err = privatedir.Cache("kept")
	require.ErrorIs(t, err, privatedir.ErrRefused)
}

// Cache does not fall back to another place.
func TestCache_RefusesPlantedUsersCache(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("HOME", cache)
	planted := filepath.Join(cache, "millrace")
	if dir, err := os.UserCacheDir(); err == nil {
		planted = filepath.Join(dir, "millrace")
	}
	require.NoError(t, os.MkdirAll(filepath.Dir(planted), 0o700))
	require.NoError(t, os.Symlink(t.TempDir(), planted))
	_, err := privatedir.Cache("kept")
	require.ErrorIs(t, err, privatedir.ErrRefused)
}

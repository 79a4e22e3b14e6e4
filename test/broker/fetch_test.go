package broker

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/privatedir"
)

const one = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae  a.jar\n" // "foo"

func TestVerify_RefusesJarsWithOtherSums(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	jar := filepath.Join(dir, "a.jar")
	require.Error(t, verify(dir, []byte(one)), "missing")
	require.NoError(t, os.WriteFile(jar, []byte("foo"), 0o600))
	require.NoError(t, verify(dir, []byte(one)))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "b.jar"), nil, 0o600))
	require.ErrorContains(t, verify(dir, []byte(one)), "2 files, not 1")
	require.NoError(t, os.Remove(filepath.Join(dir, "b.jar")))
	require.NoError(t, os.WriteFile(jar, []byte("fop"), 0o600))
	require.ErrorContains(t, verify(dir, []byte(one)), "a.jar has the sum")
}

func TestJars_ListIsComplete(t *testing.T) {
	t.Parallel()
	require.Len(t, listed(sums), 34)
	for _, sum := range listed(sums) {
		require.Len(t, sum.hash, 64, sum.name)
	}
}

func TestInstall_NamesWhatToInstallWithoutJavaOrMaven(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("JAVA_HOME", "")
	_, _, err := findJava(t.Context())
	require.ErrorContains(t, err, "Kafka needs Java 17 or newer")
	require.ErrorContains(t, err, "apt-get install openjdk-17-jre-headless")
	err = fetch(t.Context(), filepath.Join(t.TempDir(), "jars"))
	require.ErrorContains(t, err, "apt-get install maven")
}

func TestInstall_RefusesPlantedFolder(t *testing.T) {
	t.Parallel()
	planted := filepath.Join(t.TempDir(), "kafka")
	require.NoError(t, os.Symlink(t.TempDir(), planted))
	_, err := installIn(t.Context(), planted, "java", "")
	require.ErrorIs(t, err, privatedir.ErrRefused)
	require.NoError(t, os.Remove(planted))
	require.NoError(t, os.Mkdir(planted, 0o700))
	require.NoError(t, os.Chmod(planted, 0o770))
	_, err = installIn(t.Context(), planted, "java", "")
	require.ErrorIs(t, err, privatedir.ErrRefused)
}

func TestLock_IsExclusive(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), path)
	require.NoError(t, err)
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = lock(short, path)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	unlock()
	again, err := lock(t.Context(), path)
	require.NoError(t, err)
	again()
}

//go:build unix && slow

package devserver_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/postgres/devserver"
)

// Each case starts a server: half a minute in all.

// TestRoot_WritesThroughNoPlantedName: the owner of a folder plants a symbolic link, a
// hard link to root's file, or a pipe, under a name that root is about to use.
func TestRoot_WritesThroughNoPlantedName(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		return // only root has rights that the folder's owner lacks
	}
	used := func(t *testing.T) devserver.Config { // "nobody" owns the folder and the cluster
		cfg := config(dataDir(t))
		require.NoError(t, start(t, cfg).Stop())
		give(t, cfg.DataDir)
		return cfg
	}
	link := func(v victim, at string) error { return os.Symlink(v.file, at) }
	folderLink := func(v victim, at string) error { return os.Symlink(v.dir, at) }
	hardLink := func(v victim, at string) error { return os.Link(v.file, at) }
	pipe := func(_ victim, at string) error { return syscall.Mkfifo(at, 0o666) }
	for _, c := range []struct {
		name  string
		plant func(v victim, at string) error
	}{
		{"lock", link}, {"lock", hardLink}, {"lock", pipe}, {"server.log", link}, {"server.log", hardLink}, {"server.log.old", link},
		{"password", link}, {"password.new", link}, {"pg_hba.conf", link}, {"pg_hba.conf", hardLink},
		{"run", link}, {"run", folderLink}, {"cluster.new", folderLink}, {"cluster", folderLink}, {"cluster", pipe},
		{"cluster/pg_hba.conf", link}, {"cluster/pg_hba.conf", hardLink}, {"cluster/postmaster.pid", link}, {"cluster/postmaster.pid", pipe},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v, cfg := newVictim(t), used(t)
			at := filepath.Join(cfg.DataDir, c.name)
			require.NoError(t, os.RemoveAll(at))
			require.NoError(t, c.plant(v, at))
			startOrNot(t, cfg)
			v.requireUntouched(t)
		})
	}
}

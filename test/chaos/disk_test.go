//go:build chaos

package chaos_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/test/ports"
)

// While the data platform's disk is full, everything else continues. The files are
// written when there is room again.
func TestDataPlatform_WritesItsFilesAfterAFullDisk(t *testing.T) {
	t.Parallel()
	disk := t.TempDir()
	w := fresh(t, "MILLRACE_DATAPLATFORM_DIR="+filepath.Join(disk, "events"))
	w.data = filepath.Join(disk, "events")
	started, room := fill(t, disk)
	at := ports.Of(t)
	p := w.serve(at, "") // must start on a full disk, too
	started()
	l := w.load(3, at)
	w.until(func() string {
		if !strings.Contains(p.stderr.String(), "cannot write the events to a file") {
			return "the disk has room"
		}
		return ""
	})
	l.accepts(30)
	w.becomes("true", `SELECT count(*) >= 40 FROM notification.notifications WHERE state = 'sent'`)
	w.becomes("true", `SELECT count(*) > 0 FROM dataplatform.file WHERE written_at IS NULL`)
	room()
	l.accepts(5)
	l.accounted()
}

// fill mounts a small disk at the path. Where mounting is not allowed, it replaces the
// data platform's folder by a file after the program has started, so that writes
// fail as well. started must be called after the start, room to end the fault.
func fill(t *testing.T, disk string) (started, room func()) {
	t.Helper()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=32k"); err == nil {
		t.Cleanup(func() { require.NoError(t, syscall.Unmount(disk, syscall.MNT_DETACH)) })
		return func() {}, func() { require.NoError(t, syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT, "size=64m")) }
	}
	obstacle := filepath.Join(disk, "events")
	started = func() {
		require.NoError(t, os.RemoveAll(obstacle))
		require.NoError(t, os.WriteFile(obstacle, nil, 0o600))
	}
	return started, func() { require.NoError(t, os.Remove(obstacle)) }
}

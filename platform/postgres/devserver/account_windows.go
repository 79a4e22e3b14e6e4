package devserver

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/windows"
)

// noSockets: lib/pq finds no Unix sockets here, so the server listens on loopback.
const noSockets = true

// account is whom PostgreSQL's programs run as: always us. PostgreSQL refuses
// to run for an administrator, and says so itself.
type account struct{ uid int }

func serverUser() account { return account{} }

func (account) canReach(string, string) error { return nil }
func (account) own(string) error              { return nil }

func (account) writeFile(path, text string) error { return os.WriteFile(path, []byte(text), 0o600) }

func (account) copyTree(from, to string) error {
	return filepath.WalkDir(from, func(at string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, at)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.Mkdir(filepath.Join(to, rel), 0o700)
		}
		return copyFile(at, filepath.Join(to, rel))
	})
}

func (account) command(ctx context.Context, found programs, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(found.dir, name+".exe"), args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "LC_MESSAGES=C", "TZ=UTC")
	return cmd
}

// interrupt ends the postmaster at once: Windows has no signals, and pg_ctl's
// events need its own console. The next start recovers.
func interrupt(pid int) error { return abort(pid) }

func abort(pid int) error {
	process, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	return process.Kill()
}

func alive(pid int) bool {
	const stillActive = 259
	handle, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(pid))
	if err != nil {
		return false
	}
	defer windows.CloseHandle(handle) //nolint:errcheck // it was only looked at
	var code uint32
	return windows.GetExitCodeProcess(handle, &code) == nil && code == stillActive
}

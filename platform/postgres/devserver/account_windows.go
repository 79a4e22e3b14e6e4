package devserver

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/windows"
)

// noSockets is set because lib/pq does not support Unix sockets on Windows. The server
// listens on loopback.
const noSockets = true

// account is the user that runs PostgreSQL's programs: always this process's user. If
// that is an administrator, PostgreSQL refuses to run and reports it.
type account struct {
	uid   int
	other bool // always false
}

func serverUser(*os.Root) account { return account{} }

func anybody() account { return account{} }

func (account) canReach(string, string) error   { return nil }
func (account) own(place) error                 { return nil }
func (account) giveFile(*os.File) error         { return nil }
func (account) mayServe(*os.Root, string) error { return nil }

// names is 1: on Windows, a user who may create a hard link may also write to the file.
func names(fs.FileInfo) int { return 1 }

func (account) command(ctx context.Context, found programs, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(found.dir, name+".exe"), args...)
	cmd.Env = environment()
	return cmd
}

// interrupt ends the postmaster at once, because Windows has no signals and pg_ctl's
// events need a console of their own. The next start recovers.
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
	defer windows.CloseHandle(handle) //nolint:errcheck // opened only to query it
	var code uint32
	return windows.GetExitCodeProcess(handle, &code) == nil && code == stillActive
}

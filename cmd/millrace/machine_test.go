//go:build unix

package main

import (
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/postgres/pgtest"
)

// somebody is a user of the machine that runs the program. Tests that run as root
// also use a second user; others only their own.
type somebody struct {
	name     string
	uid, gid int
}

func everybody(t *testing.T) []somebody {
	t.Helper()
	all := []somebody{{"Self", os.Getuid(), os.Getgid()}}
	if os.Getuid() != 0 {
		return all
	}
	nobody, err := user.Lookup("nobody")
	require.NoError(t, err)
	uid, err := strconv.Atoi(nobody.Uid)
	require.NoError(t, err)
	gid, err := strconv.Atoi(nobody.Gid)
	require.NoError(t, err)
	return append(all, somebody{"Other", uid, gid})
}

// machine is a folder with the program, which every user can run.
type machine struct{ dir, executable string }

func newMachine(t *testing.T) machine {
	t.Helper()
	m := machine{dir: pgtest.Dir(t)}
	m.executable = filepath.Join(m.dir, "millrace")
	self, err := os.Executable()
	require.NoError(t, err)
	text, err := os.ReadFile(self)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(m.executable, text, 0o755))
	require.NoError(t, os.Chmod(m.executable, 0o755))
	return m
}

// program is `millrace args`, run by a user with a umask on a data folder.
func (m machine) program(who somebody, umask, data string, args ...string) *process {
	words := append([]string{"-c", `umask "$1"; shift; exec "$0" "$@"`, m.executable, umask}, args...)
	p := &process{Cmd: exec.Command("/bin/sh", words...), stderr: &record{}}
	p.Dir = "/"
	p.Env = append(os.Environ(), beMillrace+"=1", "MILLRACE_HTTP_ADDRESS=127.0.0.1:0", "MILLRACE_LOG_FORMAT=json",
		"DATABASE_URL=", "MILLRACE_DATABASE_URL=", "MILLRACE_DATA_DIR="+data)
	p.Stdout, p.Stderr = p.stderr, p.stderr
	if who.uid != os.Getuid() {
		p.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(who.uid), Gid: uint32(who.gid)}}
	}
	return p
}

// serveAndStop serves until the program is ready, and then stops it.
func serveAndStop(t *testing.T, p *process) {
	t.Helper()
	startOnly(t, p)
	t.Cleanup(func() { _ = p.Process.Kill() }) // has already ended, unless the test failed
	require.Eventually(t, func() bool {
		response, err := client.Get(p.url + "/readyz")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	}, patience, 20*time.Millisecond, p.stderr)
	p.signal(t)
	require.Zero(t, p.exit(t, patience), p.stderr.String())
	require.NotContains(t, p.stderr.String(), `"WARN"`, "a healthy start warns of nothing")
}

func TestMachine_ServesWithUmaskThatTakesAllRights(t *testing.T) { servesWithUmask(t, "0777") }

// servesWithUmask starts the program twice, for each user. In between, root runs a
// command on the folder, which must not take over any file. It is not parallel: each
// start writes a cluster to the disk.
func servesWithUmask(t *testing.T, umask string) {
	m := newMachine(t)
	for _, who := range everybody(t) {
		t.Run(who.name, func(t *testing.T) {
			home := filepath.Join(m.dir, who.name)
			require.NoError(t, os.Mkdir(home, 0o755))
			require.NoError(t, os.Chown(home, who.uid, who.gid))
			data := filepath.Join(home, "project", ".data")
			serveAndStop(t, m.program(who, umask, data, "serve"))
			requireClosed(t, data)
			look := m.program(somebody{"", os.Getuid(), os.Getgid()}, "077", data, "deadletters")
			require.NoError(t, look.Run(), look.stderr)
			require.Contains(t, look.stderr.String(), "There are no dead letters.")
			if who.uid != os.Getuid() {
				requireOwner(t, home, who.uid)
			}
			serveAndStop(t, m.program(who, "022", data, "serve"))
		})
	}
}

// TestMachine_RootServesAsTheFolderOwner tests a mounted folder in a container: its
// owner has no entry in the container's user database.
func TestMachine_RootServesAsTheFolderOwner(t *testing.T) { // not parallel: each start writes a cluster to the disk
	m := newMachine(t)
	owner := somebody{"Owner", 54321, 54321}
	if os.Getuid() != 0 { // only root can use another user's folder
		owner = somebody{"Owner", os.Getuid(), os.Getgid()}
	}
	home := filepath.Join(m.dir, "home")
	require.NoError(t, os.Mkdir(home, 0o700))
	require.NoError(t, os.Chown(home, owner.uid, owner.gid))
	data := filepath.Join(home, "data")
	serveAndStop(t, m.program(somebody{"", os.Getuid(), os.Getgid()}, "077", data, "serve"))
	requireOwner(t, home, owner.uid)
	serveAndStop(t, m.program(owner, "077", data, "serve"))
}

// requireClosed checks that other users can read nothing in the data folder. If
// root made a folder, PostgreSQL's user may pass through it, and read pg_hba.conf.
func requireClosed(t *testing.T, data string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(data, func(path string, entry fs.DirEntry, err error) error {
		require.NoError(t, err)
		if entry.Name() == "dataplatform" { // its files are readable for a group, which may not enter data_dir
			return fs.SkipDir
		}
		info, err := entry.Info()
		require.NoError(t, err)
		allowed := fs.FileMode(0o700)
		switch {
		case entry.IsDir() && info.Sys().(*syscall.Stat_t).Uid == 0:
			allowed = 0o711
		case entry.Name() == "pg_hba.conf" && filepath.Base(filepath.Dir(path)) == "postgres":
			allowed = 0o644
		}
		require.Zero(t, info.Mode().Perm()&^allowed, "%s has mode %04o", path, info.Mode().Perm())
		return nil
	}))
}

func requireOwner(t *testing.T, home string, uid int) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(home, func(path string, entry fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := entry.Info()
		require.NoError(t, err)
		require.EqualValues(t, uid, info.Sys().(*syscall.Stat_t).Uid, path)
		return nil
	}))
}

func TestMachine_OperatorCommandsCreateNoDatabase(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	for _, args := range [][]string{{"trace", "goods-1"}, {"deadletters"}, {"deadletters", "retry", "delivery/1"}, {"transport", "kafka"}} {
		code, out, complaint := try(t, []string{"MILLRACE_DATA_DIR=" + data}, args...)
		require.Equal(t, exitFailed, code, args)
		require.Empty(t, out, args)
		require.Contains(t, complaint, "there is no database yet", args)
		require.Contains(t, complaint, data, args)
		require.Contains(t, complaint, "set DATABASE_URL", args)
		require.NoDirExists(t, data)
	}
}

// TestMachine_ReportsUnwritableFolderOnce tests it with an embedded server, and with
// a configured database.
func TestMachine_ReportsUnwritableFolderOnce(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	all := everybody(t)
	who := all[len(all)-1] // not root, who may write anywhere
	home := filepath.Join(m.dir, "home")
	require.NoError(t, os.Mkdir(home, 0o755))
	in := func(name string) string { return filepath.Join(home, name) }
	require.NoError(t, os.Mkdir(in("closed"), 0o555))
	require.NoError(t, os.WriteFile(in("file"), nil, 0o600))
	require.NoError(t, os.Symlink("nowhere", in("dangling")))
	require.NoError(t, os.Mkdir(in("taken"), 0o755))
	require.NoError(t, os.Mkdir(in("taken/dataplatform"), 0o555))
	for _, path := range []string{home, in("closed"), in("taken")} {
		require.NoError(t, os.Chown(path, who.uid, who.gid))
	}
	elsewhere := "MILLRACE_DATABASE_URL=" + pgtest.URL(t)
	for _, c := range []struct{ data, want string }{
		{in("closed"), "mode 0555"}, {in("closed/below"), "mode 0555"}, {in("file"), "is not a folder"},
		{in("dangling"), "is a symbolic link to something that does not exist"}, {in("taken"), in("taken/dataplatform") + " cannot be written"},
	} {
		for _, environ := range [][]string{nil, {elsewhere}} {
			if environ != nil && who.uid != os.Getuid() {
				continue // other users cannot reach that server's socket
			}
			p := m.program(who, "022", c.data, "serve")
			p.Env = append(p.Env, environ...)
			_ = p.Run() // the test checks the exit code
			require.Equal(t, exitUsage, p.ProcessState.ExitCode(), "%s: %s", c.data, p.stderr)
			require.Contains(t, p.stderr.String(), "millrace: data_dir: ", c.data)
			require.Contains(t, p.stderr.String(), c.want, c.data)
			require.Equal(t, 1, strings.Count(p.stderr.String(), "name another folder"), c.data)
		}
	}
	for setting, args := range map[string][]string{"data_dir": nil, "dataplatform.dir": {"MILLRACE_DATAPLATFORM_DIR=" + in("file")}} {
		data := in("file")
		if args != nil {
			data = t.TempDir()
		}
		code, _, complaint := try(t, append(args, elsewhere, "MILLRACE_DATA_DIR="+data, "MILLRACE_HTTP_ADDRESS=127.0.0.1:0", "MILLRACE_DATABASE_MAX_CONNS_PER_MODULE=5"), "serve")
		require.Equal(t, exitUsage, code, complaint)
		require.Contains(t, complaint, "millrace: "+setting+": "+in("file")+" is not a folder")
	}
}

func TestDataDir_SecondProcessErrorNamesTheFirst(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	self := everybody(t)[0]
	data := filepath.Join(m.dir, "data")
	first := m.program(self, "022", data, "serve")
	startOnly(t, first)
	t.Cleanup(func() { _ = first.Process.Kill() }) // has already ended, unless the test failed
	require.Eventually(t, func() bool { return strings.Contains(first.stderr.String(), "is ready") }, patience, 20*time.Millisecond)
	second := m.program(self, "022", data, "serve")
	_ = second.Run() // the test checks the exit code
	require.Equal(t, exitUsage, second.ProcessState.ExitCode(), second.stderr)
	require.Contains(t, second.stderr.String(), "is already in use by process "+strconv.Itoa(first.Process.Pid))
	first.signal(t)
	require.Zero(t, first.exit(t, patience), first.stderr)
}

// TestMachine_FollowsNoPlantedLink: another user plants a link in a folder that root
// serves from, or in a folder that everybody may write to.
func TestMachine_FollowsNoPlantedLink(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	all := everybody(t)
	self, attacker := all[0], all[len(all)-1]
	victim := filepath.Join(m.dir, "victim")
	data := filepath.Join(m.dir, "data")
	kept := map[string]string{"pg_hba.conf": "a", "server.log": "b", "cluster.new/file": "c", "password": "d", "database.url": "e"}
	require.NoError(t, os.MkdirAll(filepath.Join(victim, "cluster.new"), 0o700))
	for name, text := range kept {
		require.NoError(t, os.WriteFile(filepath.Join(victim, name), []byte(text), 0o600))
	}
	for _, name := range []string{"postgres", "dataplatform", "simulator.json"} {
		for _, args := range [][]string{{"serve"}, {"deadletters"}} {
			if args[0] == "deadletters" && name != "postgres" {
				continue // this command does not open that name
			}
			require.NoError(t, os.RemoveAll(data))
			require.NoError(t, os.Mkdir(data, 0o755))
			require.NoError(t, os.Symlink(victim, filepath.Join(data, name)))
			for _, path := range []string{data, filepath.Join(data, name)} {
				require.NoError(t, os.Lchown(path, attacker.uid, attacker.gid))
			}
			p := m.program(self, "022", data, args...)
			p.Env = append(p.Env, "MILLRACE_PAYMENT_GATEWAY_SIMULATOR_ADDRESS=127.0.0.1:0")
			ended := time.AfterFunc(patience, func() { _ = p.Process.Kill() })
			_ = p.Run() // the test checks the exit code
			require.True(t, ended.Stop(), "%s: it serves: %s", name, p.stderr)
			require.NotZero(t, p.ProcessState.ExitCode(), "%s: %s", name, p.stderr)
			require.Contains(t, p.stderr.String(), filepath.Join(data, name)+" is a symbolic link", args)
			require.Contains(t, p.stderr.String(), "remove it", args)
			for name, text := range kept {
				now, err := os.ReadFile(filepath.Join(victim, name))
				require.NoError(t, err)
				require.Equal(t, text, string(now), name)
			}
			in, err := os.ReadDir(victim)
			require.NoError(t, err)
			require.Len(t, in, len(kept), "nothing was put there")
		}
	}
	require.NoError(t, os.RemoveAll(data))
	require.NoError(t, os.Mkdir(data, 0o700))
	require.NoError(t, os.Chown(data, attacker.uid, attacker.gid))
	require.NoError(t, os.Chmod(data, 0o777))
	for _, who := range all {
		p := m.program(who, "022", data, "serve")
		_ = p.Run() // the test checks the exit code
		require.Equal(t, exitUsage, p.ProcessState.ExitCode(), p.stderr)
		require.Contains(t, p.stderr.String(), "millrace: data_dir: "+data+" (mode 0777) lets other users write to it")
	}
	if attacker.uid != self.uid {
		require.NoError(t, os.Chown(data, 54321, 54321))
		require.NoError(t, os.Chmod(data, 0o755))
		p := m.program(attacker, "022", data, "serve")
		_ = p.Run() // the test checks the exit code
		require.Equal(t, exitUsage, p.ProcessState.ExitCode(), p.stderr)
		require.Contains(t, p.stderr.String(), "millrace: data_dir: "+data+" belongs to user 54321")
	}
}

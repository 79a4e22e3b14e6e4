package devserver_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
	"millrace/platform/postgres/devserver"
	"millrace/platform/postgres/pgtest"
	"millrace/platform/privatedir"
)

// childVariable makes the test binary run as a child program that the tests kill.
const childVariable = "MILLRACE_DEVSERVER_CHILD"

func TestMain(m *testing.M) {
	if role, dir, _ := strings.Cut(os.Getenv(childVariable), ":"); role != "" {
		os.Exit(child(role, dir))
	}
	home, err := privatedir.Temp("", "devserver-")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	template = filepath.Join(home, "template")
	code := m.Run()
	_ = os.RemoveAll(home) // a temporary folder
	os.Exit(code)
}

// template is a folder with an initialised cluster: it saves each test a second.
var template string

// child plays a role, prints "ready", and waits until it is killed.
func child(role, dir string) int {
	switch role {
	case "serve":
		server, err := devserver.Start(context.Background(), config(dir))
		if err != nil {
			fmt.Println("error:", err)
			return 1
		}
		fmt.Println("ready", server.PID(), server.URL("postgres"))
	case "parent": // the parent of a program that dies with it
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"=follower:")
		cmd.Stdout = os.Stdout
		if err := cmd.Start(); err != nil {
			fmt.Println("error:", err)
			return 1
		}
	case "follower":
		devserver.DieWithParent()
		fmt.Println("ready", os.Getpid(), "nothing")
	}
	select {}
}

// startChild starts a child and returns the process id and the URL that it printed.
func startChild(t *testing.T, role, dir string) (cmd *exec.Cmd, out *bufio.Reader, pid int, address string) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+role+":"+dir)
	pipe, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }) // most tests have already killed it
	out = bufio.NewReader(pipe)
	line, err := out.ReadString('\n')
	require.NoError(t, err)
	_, err = fmt.Sscanf(line, "ready %d %s", &pid, &address)
	require.NoError(t, err, line)
	return cmd, out, pid, address
}

// dataDir returns a folder for a new server, which does not exist yet.
func dataDir(t *testing.T) string { return filepath.Join(pgtest.Dir(t), "data") }

func config(dir string) devserver.Config {
	return devserver.Config{DataDir: dir, Setting: "data_dir", NoSync: true, Template: template}
}

func start(t *testing.T, cfg devserver.Config) *devserver.Server {
	t.Helper()
	server, err := devserver.Start(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	return server
}

func startError(t *testing.T, cfg devserver.Config) error {
	t.Helper()
	server, err := devserver.Start(t.Context(), cfg)
	if err == nil {
		require.NoError(t, server.Stop())
	}
	require.Error(t, err)
	return err
}

func connect(t *testing.T, server *devserver.Server, database string) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", server.URL(database))
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() }) // the server may already have stopped
	return db
}

func exec1(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), statement)
	require.NoError(t, err)
}

func value(t *testing.T, db *sql.DB, query string) string {
	t.Helper()
	var got string
	require.NoError(t, db.QueryRowContext(t.Context(), query).Scan(&got))
	return got
}

func TestServer_KeepsDataAfterRestart(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	first := start(t, config(dir))
	require.NoError(t, first.CreateDatabase(t.Context(), "orders"))
	require.NoError(t, first.CreateDatabase(t.Context(), "orders"), "again is no error")
	exec1(t, connect(t, first, "orders"), "CREATE TABLE a AS SELECT 17 AS x")
	require.NoError(t, first.Stop())
	require.NoError(t, first.Stop(), "again is no error")

	second := start(t, config(dir))
	require.Equal(t, "17", value(t, connect(t, second, "orders"), "SELECT x FROM a"))
}

func TestServer_KeepsDataAndEndsWhenProgramIsKilled(t *testing.T) {
	t.Parallel()
	gone := func(pid int) {
		require.Eventually(t, func() bool { return !running(pid) }, time.Minute, 5*time.Millisecond, "the server outlived its program")
	}
	for _, wait := range []bool{true, false} { // wait until the server has ended, or start again at once
		dir := dataDir(t)
		cfg := config(dir)
		cmd, _, pid, address := startChild(t, "serve", dir)
		db, err := sql.Open("postgres", address)
		require.NoError(t, err)
		exec1(t, db, "CREATE TABLE a AS SELECT 17 AS x")
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait() // it was killed; its server may still be ending
		if wait {
			gone(pid)
		}
		again := start(t, cfg)
		require.Equal(t, "17", value(t, connect(t, again, "postgres"), "SELECT x FROM a"))
		gone(pid)
		_ = db.Close() // its server has ended
	}
}

func TestStart_SecondStartErrorNamesHolder(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	first := start(t, config(dir))
	err := startError(t, config(dir))
	require.Equal(t, errs.Invalid, errs.KindOf(err))
	require.Equal(t, "data_dir", errs.FieldOf(err))
	require.ErrorContains(t, err, fmt.Sprintf("already in use by process %d", os.Getpid()))
	require.Equal(t, "1", value(t, connect(t, first, "postgres"), "SELECT 1"), "and the first goes on")
}

func TestStart_RefusesClusterOfAnotherMajorUnchanged(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	cluster := filepath.Join(dir, "cluster")
	require.NoError(t, os.MkdirAll(cluster, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(cluster, "PG_VERSION"), []byte("12\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(cluster, "money"), []byte("all of it"), 0o600))
	cfg := config(dir)
	cfg.Binaries.Repository = "off"
	err := startError(t, cfg)
	require.Equal(t, "data_dir", errs.FieldOf(err))
	require.ErrorContains(t, err, "was written by PostgreSQL 12")
	require.ErrorContains(t, err, "Install PostgreSQL 12")
	require.ErrorContains(t, err, "Installed here: ")
	kept, err := os.ReadFile(filepath.Join(cluster, "money"))
	require.NoError(t, err)
	require.Equal(t, "all of it", string(kept))
}

func TestStart_RefusesOtherFolderUnchanged(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	photo := filepath.Join(dir, "cluster", "photo.jpg")
	require.NoError(t, os.MkdirAll(filepath.Dir(photo), 0o755))
	require.NoError(t, os.WriteFile(photo, nil, 0o600))
	require.ErrorContains(t, startError(t, config(dir)), "is not a data folder of PostgreSQL")
	_, err := os.Stat(photo)
	require.NoError(t, err)
}

func TestStart_RepeatsInterruptedInitdb(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "cluster.new", "base"), 0o755))
	cfg := config(dir)
	cfg.Template = ""
	start(t, cfg)
}

func TestStart_IgnoresReusedProcessID(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	require.NoError(t, start(t, config(dir)).Stop())
	pidFile := filepath.Join(dir, "cluster", "postmaster.pid")
	require.NoError(t, os.WriteFile(pidFile, fmt.Appendf(nil, "%d\n", os.Getpid()), 0o600))
	start(t, config(dir))
}

func TestServer_DoneIsClosedOnCrashAndNextStartRecovers(t *testing.T) {
	t.Parallel()
	cfg := config(dataDir(t))
	server := start(t, cfg)
	exec1(t, connect(t, server, "postgres"), "CREATE TABLE a AS SELECT 17 AS x")
	process, err := os.FindProcess(server.PID())
	require.NoError(t, err)
	require.NoError(t, process.Kill())
	select {
	case <-server.Done():
	case <-time.After(time.Minute):
		t.Fatal("nobody noticed")
	}
	require.NoError(t, server.Stop())
	require.Equal(t, "17", value(t, connect(t, start(t, cfg), "postgres"), "SELECT x FROM a"))
}

func TestDropDatabase_DisconnectsClients(t *testing.T) {
	t.Parallel()
	server := start(t, config(dataDir(t)))
	require.NoError(t, server.CreateDatabase(t.Context(), "demo"))
	exec1(t, connect(t, server, "demo"), "SELECT 1")
	require.NoError(t, server.DropDatabase(t.Context(), "demo"))
	require.NoError(t, server.DropDatabase(t.Context(), "demo"), "again is no error")
	require.Equal(t, "0", value(t, connect(t, server, "postgres"), "SELECT count(*) FROM pg_database WHERE datname = 'demo'"))
}

func TestServer_RequiresPasswordOnTCP(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	cfg := config(dir)
	cfg.TCP = true
	for range 2 { // the first start and a later one
		server := start(t, cfg)
		require.Equal(t, "1", value(t, connect(t, server, "postgres"), "SELECT 1"))
		password, err := os.ReadFile(filepath.Join(dir, "password"))
		require.NoError(t, err)
		stranger, err := sql.Open("postgres", strings.Replace(server.URL("postgres"), string(password), "guess", 1))
		require.NoError(t, err)
		require.ErrorContains(t, stranger.Ping(), "password authentication failed")
		require.NoError(t, server.Stop())
	}
}

func TestServer_UsesTCPForLongPath(t *testing.T) {
	t.Parallel()
	server := start(t, config(filepath.Join(dataDir(t), strings.Repeat("long", 25))))
	require.Contains(t, server.URL("postgres"), "@127.0.0.1:")
	require.Equal(t, "1", value(t, connect(t, server, "postgres"), "SELECT 1"))
}

func TestServer_SyncsUnlessNoSync(t *testing.T) {
	t.Parallel()
	cfg := config(dataDir(t))
	cfg.NoSync, cfg.Template = false, ""
	db := connect(t, start(t, cfg), "postgres")
	for _, setting := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		require.Equal(t, "on", value(t, db, "SHOW "+setting), setting)
	}
}

func TestStart_RequiresDataDir(t *testing.T) {
	t.Parallel()
	require.Equal(t, "data_dir", errs.FieldOf(startError(t, devserver.Config{Setting: "data_dir"})))
}

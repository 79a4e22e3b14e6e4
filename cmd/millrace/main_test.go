package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/test/program"
)

// beMillrace is the variable that makes the test binary run as the program.
const beMillrace = "TEST_BINARY_IS_MILLRACE"

func TestMain(m *testing.M) {
	if os.Getenv(beMillrace) != "" {
		main()
		return
	}
	m.Run()
}

// patience is the time limit for anything the program does on a slow machine.
const patience = 2 * time.Minute

var client = &http.Client{Timeout: time.Minute}

// try runs a command in this process.
func try(t *testing.T, environ []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err record // safe for concurrent use: slog's default logger may write to it
	code = run(t.Context(), args, environ, &out, &err)
	return code, out.String(), err.String()
}

func TestHelp_ListsCommands(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"help"}, {"--help"}} {
		code, out, _ := try(t, nil, args...)
		require.Zero(t, code)
		for _, command := range []string{"serve", "migrate", "config", "version", "help"} {
			require.Contains(t, out, "\n  "+command+" ")
		}
	}
	code, out, _ := try(t, nil, "help", "serve")
	require.Zero(t, code)
	require.Contains(t, out, "--modules")
}

func TestVersion_NeedsNoConfiguration(t *testing.T) {
	t.Parallel()
	code, out, _ := try(t, []string{"MILLRACE_NONSENSE=1"}, "version")
	require.Zero(t, code)
	require.Contains(t, out, "millrace ")
}

func TestCommandLine_InvalidExits2AndNamesHelp(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"srve"}, {"serve", "--module", "x"}, {"help", "nothing"}} {
		code, _, complaint := try(t, nil, args...)
		require.Equal(t, exitUsage, code, "%v: %s", args, complaint)
	}
}

func TestConfig_PrintsAllFaultsAndNoSecrets(t *testing.T) {
	t.Parallel()
	code, out, _ := try(t, []string{"MILLRACE_MAIL_SMTP_PASSWORD=canary", "MILLRACE_MAIL_SMTP_USER=u", "DATABASE_URL=postgres://u:canary@h/d"}, "config")
	require.Zero(t, code)
	require.NotContains(t, out, "canary")

	code, out, complaint := try(t, []string{"MILLRACE_NONSENSE=1", "MILLRACE_BUS_WORKERS=0", "MILLRACE_HTTP_ADDRESS=x"}, "config")
	require.Equal(t, exitUsage, code)
	require.Contains(t, out, `address: "x"`)
	for _, name := range []string{"3 things are wrong", "MILLRACE_NONSENSE", "bus.workers", "http.address"} {
		require.Contains(t, complaint, name)
	}
}

func TestServe_RefusesAddressThatOthersCanReach(t *testing.T) {
	t.Parallel()
	code, _, complaint := try(t, []string{"MILLRACE_HTTP_ADDRESS=0.0.0.0:0"}, "serve")
	require.Equal(t, exitUsage, code)
	require.Contains(t, complaint, "http.insecure_expose_without_login")
}

func TestServe_RefusesUnknownModule(t *testing.T) {
	t.Parallel()
	code, _, complaint := try(t, nil, "--modules", "billing,payment")
	require.Equal(t, exitUsage, code)
	require.Contains(t, complaint, `modules: there is no module "billing"`)
}

// process is a millrace in a process of its own.
type process struct {
	*exec.Cmd
	url    string
	stderr *record
}

// prepared is `millrace serve` with a database of its own, migrated, not started yet.
func prepared(t *testing.T, environ ...string) *process {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	p := &process{Cmd: exec.Command(self, "serve"), stderr: &record{}}
	p.Env = append(os.Environ(), beMillrace+"=1", "MILLRACE_HTTP_ADDRESS=127.0.0.1:0",
		"MILLRACE_DATABASE_URL="+program.Database(t), "MILLRACE_DATA_DIR="+t.TempDir(), "MILLRACE_DATABASE_MAX_CONNS_PER_MODULE=5")
	p.Env = append(p.Env, environ...)
	p.Stderr = p.stderr
	t.Cleanup(func() {
		if p.Process != nil {
			_ = p.Process.Kill() // has already ended, unless the test failed
		}
	})
	return p
}

// serve starts a program and waits until it is ready.
func serve(t *testing.T) *process {
	t.Helper()
	p := prepared(t)
	out, err := p.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.Start())
	ready := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if _, url, ok := strings.Cut(lines.Text(), "is ready: "); ok {
				ready <- strings.TrimSuffix(url, "/")
			}
		}
	}()
	select {
	case p.url = <-ready:
	case <-time.After(patience):
		t.Fatalf("not ready in time:\n%s", p.stderr)
	}
	return p
}

func (p *process) signal(t *testing.T) {
	t.Helper()
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
}

// exit waits until the program ends, and returns its exit code.
func (p *process) exit(t *testing.T, limit time.Duration) int {
	t.Helper()
	stop := time.AfterFunc(limit, func() { _ = p.Process.Kill() }) // the exit code then shows it
	defer stop.Stop()
	_ = p.Wait() // the test checks the exit code
	return p.ProcessState.ExitCode()
}

// TestServe_SIGTERMFinishesRequestAndExits0 tests a part of promise L6.
func TestServe_SIGTERMFinishesRequestAndExits0(t *testing.T) {
	t.Parallel()
	p := serve(t)
	finish, answer := slowRequest(t, p.url)
	p.signal(t)
	require.Eventually(t, func() bool { // it accepts no more requests
		_, err := client.Get(p.url + "/livez")
		return err != nil
	}, 30*time.Second, 5*time.Millisecond)
	finish()
	require.Contains(t, <-answer, "HTTP/1.1 4", "the request was answered")
	require.Zero(t, p.exit(t, 25*time.Second), p.stderr.String())
}

func TestServe_SecondSignalExitsAtOnce(t *testing.T) {
	t.Parallel()
	p := serve(t)
	finish, _ := slowRequest(t, p.url) // the open request delays the shutdown
	defer finish()
	p.signal(t)
	done := make(chan struct{})
	defer close(done)
	go func() { // a second signal counts only a second after the first
		again := time.NewTicker(100 * time.Millisecond)
		defer again.Stop()
		for {
			select {
			case <-again.C:
				_ = p.Process.Signal(syscall.SIGTERM) // it may have ended
			case <-done:
				return
			}
		}
	}()
	require.Equal(t, exitInterrupted, p.exit(t, time.Minute), p.stderr.String())
}

// slowRequest sends a request without its last byte. finish sends that byte; answer
// gets the response's first line.
func slowRequest(t *testing.T, url string) (finish func(), answer <-chan string) {
	t.Helper()
	connection, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = connection.Close() }) // the other side may have closed it
	_, err = io.WriteString(connection, "POST /consultations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
	require.NoError(t, err)
	reader := bufio.NewReader(connection)
	line, err := reader.ReadString('\n') // the handler has begun to read the body: the request is in flight
	require.NoError(t, err)
	require.Contains(t, line, "100 Continue")
	_, err = reader.ReadString('\n')
	require.NoError(t, err)
	_, err = io.WriteString(connection, "{")
	require.NoError(t, err)
	lines := make(chan string, 1)
	go func() {
		line, err := reader.ReadString('\n')
		if err != nil {
			line = fmt.Sprint(err)
		}
		lines <- line
	}()
	return func() { _, _ = io.WriteString(connection, "}") }, lines // the other side may have ended
}

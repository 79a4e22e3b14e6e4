package main

import (
	"bufio"
	"bytes"
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

	"millrace/platform/postgres/pgtest"
)

// beMillrace makes the test's own binary the program.
const beMillrace = "TEST_BINARY_IS_MILLRACE"

func TestMain(m *testing.M) {
	if os.Getenv(beMillrace) != "" {
		main()
		return
	}
	m.Run()
}

var client = &http.Client{Timeout: time.Minute}

// try runs the program in this process.
func try(t *testing.T, environ []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err record // another program of this process may log by it, as the default
	code = run(t.Context(), args, environ, &out, &err)
	return code, out.String(), err.String()
}

func TestHelpListsTheCommands(t *testing.T) {
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

func TestVersionNeedsNoConfiguration(t *testing.T) {
	t.Parallel()
	code, out, _ := try(t, []string{"MILLRACE_NONSENSE=1"}, "version")
	require.Zero(t, code)
	require.Contains(t, out, "millrace ")
}

func TestAWrongCommandLineExits2AndSaysWhereHelpIs(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"srve"}, {"serve", "--module", "x"}, {"help", "nothing"}} {
		code, _, complaint := try(t, nil, args...)
		require.Equal(t, exitUsage, code, "%v: %s", args, complaint)
	}
}

func TestConfigIsPrintedWithoutSecretsAndWithAllItsFaults(t *testing.T) {
	t.Parallel()
	code, out, _ := try(t, []string{"MILLRACE_MAIL_SMTP_PASSWORD=canary", "MILLRACE_MAIL_SMTP_USER=u", "DATABASE_URL=postgres://u:canary@h/d"}, "config")
	require.Zero(t, code)
	require.NotContains(t, out, "canary")

	code, out, complaint := try(t, []string{"MILLRACE_NONSENSE=1", "MILLRACE_BUS_EXECUTORS=0", "MILLRACE_HTTP_ADDRESS=x"}, "config")
	require.Equal(t, exitUsage, code)
	require.Contains(t, out, `address: "x"`)
	for _, name := range []string{"3 things are wrong", "MILLRACE_NONSENSE", "bus.executors", "http.address"} {
		require.Contains(t, complaint, name)
	}
}

func TestAnAddressThatOthersReachIsRefused(t *testing.T) {
	t.Parallel()
	code, _, complaint := try(t, []string{"MILLRACE_HTTP_ADDRESS=0.0.0.0:0"}, "serve")
	require.Equal(t, exitUsage, code)
	require.Contains(t, complaint, "http.insecure_expose_without_login")
}

func TestAModuleThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	code, _, complaint := try(t, nil, "--modules", "billing,payment")
	require.Equal(t, exitUsage, code)
	require.Contains(t, complaint, `modules: there is no module "billing"`)
}

// program is a millrace in a process of its own.
type program struct {
	*exec.Cmd
	url    string
	stderr *bytes.Buffer
}

// serve starts a program and waits until it is ready.
func serve(t *testing.T) *program {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	p := &program{Cmd: exec.Command(self, "serve"), stderr: &bytes.Buffer{}}
	p.Env = append(os.Environ(), beMillrace+"=1", "MILLRACE_HTTP_ADDRESS=127.0.0.1:0",
		"MILLRACE_DATABASE_URL="+pgtest.URL(t), "MILLRACE_DATA_DIR="+t.TempDir(), "MILLRACE_DATABASE_MAX_CONNS_PER_MODULE=5")
	p.Stderr = p.stderr
	out, err := p.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.Start())
	t.Cleanup(func() { _ = p.Process.Kill() }) // it has ended, unless the test failed
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
	case <-time.After(2 * time.Minute):
		t.Fatalf("not ready after two minutes:\n%s", p.stderr)
	}
	return p
}

func (p *program) signal(t *testing.T) {
	t.Helper()
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
}

// exit waits for the program's end.
func (p *program) exit(t *testing.T, limit time.Duration) int {
	t.Helper()
	stop := time.AfterFunc(limit, func() { _ = p.Process.Kill() }) // the exit code shows it
	defer stop.Stop()
	_ = p.Wait() // the code is what counts
	return p.ProcessState.ExitCode()
}

// TestATerminatedProgramFinishesItsRequestAndExits0 is a part of promise L6.
func TestATerminatedProgramFinishesItsRequestAndExits0(t *testing.T) {
	t.Parallel()
	p := serve(t)
	finish, answer := slowRequest(t, p.url)
	p.signal(t)
	require.Eventually(t, func() bool { // it takes no more
		_, err := client.Get(p.url + "/livez")
		return err != nil
	}, 30*time.Second, 5*time.Millisecond)
	finish()
	require.Contains(t, <-answer, "HTTP/1.1 4", "the request was answered")
	require.Zero(t, p.exit(t, 25*time.Second), p.stderr.String())
}

func TestASecondSignalExitsAtOnce(t *testing.T) {
	t.Parallel()
	p := serve(t)
	finish, _ := slowRequest(t, p.url) // keeps it from ending
	defer finish()
	p.signal(t)
	done := make(chan struct{})
	defer close(done)
	go func() { // the second counts once a second has passed
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

// slowRequest sends all of a request but its last byte, and returns what sends
// that, and the answer's first line.
func slowRequest(t *testing.T, url string) (finish func(), answer <-chan string) {
	t.Helper()
	connection, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = connection.Close() }) // the other side may have closed it
	_, err = io.WriteString(connection, "POST /consultations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
	require.NoError(t, err)
	reader := bufio.NewReader(connection)
	line, err := reader.ReadString('\n') // the handler is reading the body: the request is in flight
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

package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/test/program"
)

// brokenWriter accepts some bytes and then fails, like a full disk or a pipe
// without a reader.
type brokenWriter struct {
	left int
	err  error
}

func (w *brokenWriter) Write(text []byte) (int, error) {
	if len(text) > w.left {
		return w.left, w.err
	}
	w.left -= len(text)
	return len(text), nil
}

func TestOutput_CommandsReportFullDisk(t *testing.T) {
	t.Parallel()
	url := program.Database(t)
	environ := []string{"MILLRACE_DATABASE_URL=" + url, "MILLRACE_DATA_DIR=" + t.TempDir(), "MILLRACE_DATABASE_MAX_CONNS_PER_MODULE=6"}
	code, _, complaint := try(t, environ, "migrate")
	require.Zero(t, code, complaint)
	db := opened(t, url)
	puts(t, db, "delivery", "payment.completed", "goods-17", "dead", "broken")
	execute(t, db, `INSERT INTO payment.log (partition, "offset", id, type, key, payload, metadata)
		VALUES (5, 1, gen_random_uuid(), 'payment.completed', 'goods-17', '{}', '{"ce_source":"payment","ce_time":"2026-11-01T00:00:00Z"}')`)
	for _, args := range [][]string{
		{"version"}, {"config"}, {"help"}, {"--help"}, {"help", "demo"}, {"serve", "--help"}, {"migrate"}, {"deadletters"}, {"trace", "goods-17"},
		{"demo", "--json", "--count", "5"}, {"parity", "--count", "5"}, {"deadletters", "retry", "delivery/1"},
	} {
		for _, left := range []int{0, 5} {
			var complaint record
			code := run(t.Context(), args, environ, &brokenWriter{left, syscall.ENOSPC}, &complaint)
			require.Equal(t, exitFailed, code, "%v: %s", args, complaint.String())
			require.Contains(t, complaint.String(), "the output is incomplete: no space left on device", args)
			if args[0] == "deadletters" && len(args) > 1 {
				break // the retry succeeded although its output failed
			}
		}
	}
	var state string
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT state FROM delivery.parked_messages`).Scan(&state))
	require.Equal(t, "retry_scheduled", state)
}

func TestOutput_ClosedPipeEndsCommandWithoutMessage(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	for _, args := range []string{"version", "config", "help"} {
		reader, writer, err := os.Pipe()
		require.NoError(t, err)
		require.NoError(t, reader.Close())
		var complaint bytes.Buffer
		cmd := exec.CommandContext(t.Context(), self, args)
		cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), beMillrace+"=1"), writer, &complaint
		_ = cmd.Run() // the test checks the exit code
		require.NoError(t, writer.Close())
		require.Equal(t, 141, cmd.ProcessState.ExitCode(), args)
		require.Empty(t, complaint.String(), args)
	}
}

func TestOutput_ServeContinuesWithoutIt(t *testing.T) {
	t.Parallel()
	p := prepared(t)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil { // not every system has /dev/full: use a file that is open for reading only
		full, err = os.Open(os.DevNull)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, full.Close()) })
	p.Stdout = full
	require.NoError(t, p.Start())
	require.Eventually(t, func() bool { return strings.Contains(p.stderr.String(), "standard output cannot be written") }, patience, 20*time.Millisecond)
	p.signal(t)
	require.Zero(t, p.exit(t, patience), p.stderr.String())
}

func TestNumberFlags_ErrorNamesFlagAndRange(t *testing.T) {
	t.Parallel()
	for _, wrong := range []string{"9000000000000000000", "10000000000", "99999999999999999999999", "100001", "-1", "1e3", "1,000", "1_000", "0x10", "1.5", "", "ten", "１０", "0"} {
		for args, want := range map[string]string{
			"demo --count=": "--count: ", "demo --kill=": "--kill: ", "parity --count=": "--count: ", "demo --seed=": "--seed: ", "parity --seed=": "--seed: ",
		} {
			if wrong == "0" && args == "demo --kill=" || strings.HasSuffix(args, "--seed=") && len(strings.Trim(wrong, "-0123456789")) == 0 && len(wrong) > 0 && len(wrong) < 20 {
				continue // this text is valid for the flag
			}
			words := strings.Fields(args)
			words[len(words)-1] += wrong
			code, out, complaint := try(t, nil, words...)
			require.Equal(t, exitUsage, code, words)
			require.Empty(t, out)
			require.Contains(t, complaint, want, words)
			require.Regexp(t, `is not a whole number from -?\d+ to \d+, in digits only`, complaint, words)
		}
	}
	for _, right := range []string{"demo --seed=-5 --help", "demo --count=007 --help", "demo --kill=0 --count=100000 --help"} {
		code, _, complaint := try(t, nil, strings.Fields(right)...)
		require.Zero(t, code, complaint)
	}
}

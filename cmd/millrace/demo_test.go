package main

import (
	"bytes"
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"millrace/cmd/millrace/app"
	"millrace/cmd/millrace/demo"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

// playDemo runs `millrace demo` in a process of its own, and returns its exit code,
// its output, and the JSON result on the output's last line.
func playDemo(t *testing.T, args ...string) (code int, printed string, result demo.Result) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	server := pgtest.URL(t)
	u, err := url.Parse(server)
	require.NoError(t, err)
	db, err := postgres.Open(t.Context(), postgres.Config{URL: server, MaxConns: 1})
	require.NoError(t, err)
	defer func() {
		for _, part := range append([]string{""}, app.Modules()...) {
			name := strings.TrimSuffix(filepath.Base(u.Path)+"_demo_"+part, "_")
			_, err := db.ExecContext(t.Context(), "DROP DATABASE IF EXISTS "+pq.QuoteIdentifier(name)+" WITH (FORCE)")
			require.NoError(t, err)
		}
		require.NoError(t, db.Close())
	}()
	var out, complaint bytes.Buffer
	cmd := exec.CommandContext(t.Context(), self, append([]string{"demo", "--json"}, args...)...)
	cmd.Env = append(os.Environ(), beMillrace+"=1", "MILLRACE_DATABASE_URL="+server, "MILLRACE_DATA_DIR="+t.TempDir(), "MILLRACE_DATABASE_MAX_CONNS_PER_MODULE=6")
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &complaint, 5*time.Second
	_ = cmd.Run() // the test checks the exit code
	lines := strings.Split(strings.TrimRight(out.String(), "\n"), "\n")
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &result), "%s\n%s", &out, &complaint)
	return cmd.ProcessState.ExitCode(), out.String() + complaint.String(), result
}

func TestDemo_LosesNothingWhenKilled(t *testing.T) {
	t.Parallel()
	code, printed, result := playDemo(t, "--count", "40", "--kill", "2", "--seed", "3")
	require.Zero(t, code, printed)
	require.True(t, result.OK)
	require.EqualValues(t, 2, result.Kills)
	require.Equal(t, 40, result.Orders)
	require.EqualValues(t, 8, result.Consultations)
	require.Zero(t, result.Lost)
	require.Zero(t, result.Doubled)
	require.Positive(t, result.Events)
	require.Contains(t, printed, "kill -9 number 2")
	require.NotContains(t, printed, "in the middle of 0 requests")
}

func TestDemo_SplitNeedsKafka(t *testing.T) {
	t.Parallel()
	code, printed, _ := playDemo(t, "--split", "--transport", "postgres", "--count", "1")
	require.Equal(t, exitUsage, code, printed)
	require.Contains(t, printed, "transport: modules with a database each need kafka between them")
}

func TestDemo_BadOrdersFileExits2(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "orders.csv")
	require.NoError(t, os.WriteFile(path, []byte("order_key,kind\ngoods-1,goods\n"), 0o600))
	code, printed, result := playDemo(t, "--orders", path)
	require.Equal(t, exitUsage, code, printed)
	require.False(t, result.OK)
	require.Contains(t, printed, "line 1: missing are item,user_id,email,language,amount,")
}

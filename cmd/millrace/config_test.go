package main

import (
	"crypto/rand"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/postgres/pgtest"
)

func TestConfig_UnreadableFilePrintsNoSettings(t *testing.T) {
	t.Parallel()
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	require.NoError(t, os.WriteFile(broken, []byte("http:\n\taddress: x\n"), 0o600))
	for _, file := range []string{"missing.yaml", broken, t.TempDir()} {
		code, out, complaint := try(t, nil, "-c", file, "config")
		require.Equal(t, exitUsage, code)
		require.Empty(t, out)
		require.Contains(t, complaint, file)
	}
}

func TestServe_ReportsAllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"serve", "migrate", "trace goods-1", "config"} {
		code, _, complaint := try(t, []string{"MILLRACE_NONSENSE=1", "MILLRACE_BUS_WORKERS=many", "MILLRACE_HTTP_ADDRESS=x", "MILLRACE_LOG_LEVEL=loud", "PGHOSTADDR=10.0.0.1", "DATABASE_URL=postgres://u@h/d"}, strings.Fields(command)...)
		require.Equal(t, exitUsage, code)
		for _, name := range []string{"MILLRACE_NONSENSE: ", "bus.workers: ", "http.address: ", "log.level: ", "PGHOSTADDR: "} {
			require.Contains(t, complaint, name, command)
		}
	}
}

// The log is made first, and its fault was reported alone.
func TestServe_ReportsInvalidLogFormatWithOtherFaults(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"serve", "demo", "proxy"} {
		code, _, complaint := try(t, []string{"MILLRACE_LOG_FORMAT=xml", "MILLRACE_HTTP_ADDRESS=x"}, command)
		require.Equal(t, exitUsage, code)
		require.Contains(t, complaint, "log.format: ", command)
		require.Contains(t, complaint, "http.address: ", command)
	}
}

// TestMigrate_EmbeddedIgnoresLibpqVariables is the program as a developer
// has it whose shell is set up for servers of theirs.
func TestMigrate_EmbeddedIgnoresLibpqVariables(t *testing.T) {
	environ := []string{"MILLRACE_DATA_DIR=" + filepath.Join(pgtest.Dir(t), "data")}
	for name, value := range map[string]string{
		"PGHOST": "203.0.113.1", "PGHOSTADDR": "203.0.113.1", "PGPORT": "1", "PGUSER": "nobody", "PGPASSWORD": "wrong", "PGDATABASE": "nothing",
		"PGSERVICE": "elsewhere", "PGGSSENCMODE": "disable", "PGCLIENTENCODING": "EUC_KR", "PGDATESTYLE": "German", "PGTZ": "Nowhere",
		"PGOPTIONS": "-c nonsense=1", "PGTARGETSESSIONATTRS": "standby", "PGSSLMODE": "verify-full", "PGREQUIRESSL": "1", "PGDATA": "/nowhere",
	} {
		t.Setenv(name, value)
		environ = append(environ, name+"="+value)
	}
	code, out, complaint := try(t, environ, "migrate")
	require.Zero(t, code, complaint)
	require.Contains(t, out, "up to date")
}

func TestMigrate_WithURLAcceptsHarmlessVariables(t *testing.T) {
	t.Parallel()
	environ := []string{
		"DATABASE_URL= '" + pgtest.URL(t) + "'\n", "PGGSSENCMODE=disable", "PGCLIENTENCODING=EUC_KR", "PGDATESTYLE=German", "PGTZ=Asia/Seoul",
		"PGAPPNAME=psql", "PGOPTIONS=-c work_mem=8MB", "PGTARGETSESSIONATTRS=read-write", "PGCONNECT_TIMEOUT=10", "PGPORT=5432", "PGSSLCOMPRESSION=0",
	}
	code, _, complaint := try(t, environ, "migrate")
	require.Zero(t, code, complaint)

	code, _, complaint = try(t, append(environ, "PGOPTIONS=-c no_such_thing=1"), "migrate")
	require.Equal(t, exitUsage, code)
	require.Contains(t, complaint, "database.url: ")
	require.Contains(t, complaint, "PGOPTIONS")
}

func TestDeadLetters_CheckURLInFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "payment.url")
	require.NoError(t, os.WriteFile(file, []byte("postgres://u:canary@127.0.0.1:1/d?sslmode=disable\n"), 0o600))
	key := make([]byte, 32)
	_, _ = rand.Read(key) // it never fails
	_, _, complaint := try(t, []string{
		"MILLRACE_ENVIRONMENT=production", "MILLRACE_DATABASE_URL=postgres://u@h/d?sslmode=verify-full", "MILLRACE_DATABASE_PARTS=" + file,
		"MILLRACE_PAYMENT_GATEWAY_URL=https://pg.example", "MILLRACE_PAYMENT_CALLBACK_URL=https://shop.example/callbacks/gateway",
		"MILLRACE_PAYMENT_CALLBACK_SECRETS=whsec_" + base64.StdEncoding.EncodeToString(key), "MILLRACE_DELIVERY_AUTO_PROGRESS=false", "MILLRACE_MAIL_SMTP_HOST=mail.example",
	}, "deadletters")
	require.Contains(t, complaint, "database.parts: the file of item 1: sslmode=disable")
	require.NotContains(t, complaint, "canary")
}

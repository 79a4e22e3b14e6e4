package pgurl_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
	"millrace/platform/postgres/pgurl"
)

const canary = "canary"

func TestParse_AcceptsUsualURLs(t *testing.T) {
	for raw, want := range map[string]string{
		"postgres://u:p@h:5433/d":                       "postgres://u:p@h:5433/d",
		" \"postgresql://u:p@h/d\" \r\n":                "postgres://u:p@h/d",
		"'postgres://u:p@h/d/'":                         "postgres://u:p@h/d",
		"POSTGRES://u@h/d?SSLMODE=require":              "postgres://u@h/d?sslmode=require",
		"postgres://u:p@ss,w^rd <x>@h/d":                "postgres://u:p%40ss%2Cw%5Erd%20%3Cx%3E@h/d",
		"postgres://u:%2F%23%3F%25%27%5C@h/d":           "postgres://u:%2F%23%3F%25%27%5C@h/d",
		"postgres://u@[2001:db8::1]/d":                  "postgres://u@[2001:db8::1]/d",
		"postgres://u@[::1]:5433/d":                     "postgres://u@[::1]:5433/d",
		"postgres://u@[fe80::1%25eth0]/d":               "postgres://u@[fe80::1%25eth0]/d",
		"postgres://u@h1:5433,h2,h3/d":                  "postgres://u@/d?host=h1%2Ch2%2Ch3&port=5433%2C5432%2C5432",
		"postgres://u@h1,h2/d?port=6000":                "postgres://u@/d?host=h1%2Ch2&port=6000",
		"postgres://u@%2Fvar%2Frun/d":                   "postgres://u@/d?host=%2Fvar%2Frun",
		"postgres://u@localhost/d?host=/cloudsql/a:b:c": "postgres://u@/d?host=%2Fcloudsql%2Fa%3Ab%3Ac",
		"postgres:///d?host=h&user=u&password=p":        "postgres://u:p@h/d",
		"postgres://u@h?database=d":                     "postgres://u@h/d",
		"postgres://u@h/a%2Fb":                          "postgres://u@h/a%2Fb",
		"postgres://u@h/d?ssl=true":                     "postgres://u@h/d?sslmode=require",
		"postgres://u@h/d?ssl=true&sslmode=verify-full": "postgres://u@h/d?sslmode=verify-full",
		"postgres://u@h/d?options=endpoint%3Dep-cool-1": "postgres://u@h/d?options=endpoint%3Dep-cool-1",
		"postgres://u@h/d?application_name=a&connect_timeout=10&target_session_attrs=read-write":                                 "postgres://u@h/d?application_name=a&connect_timeout=10&target_session_attrs=read-write",
		"postgres://u@h/d?sslmode=verify-full&channel_binding=require&gssencmode=disable":                                        "postgres://u@h/d?sslmode=verify-full",
		"postgres://u@h/d?pgbouncer=true&schema=public&pool_mode=session&keepalives=1&client_encoding=utf8&TimeZone=Asia/Seoul&": "postgres://u@h/d",
		"postgres://u@h/d?sslrootcert=system&statement_timeout=1000&app.tenant=7":                                                "postgres://u@h/d?app.tenant=7&sslrootcert=system&statement_timeout=1000",
	} {
		u, err := pgurl.Parse(raw)
		require.NoError(t, err, raw)
		require.Equal(t, want, u.String(), raw)
		again, err := pgurl.Parse(u.String())
		require.NoError(t, err, raw)
		require.Equal(t, u, again, "what it prints is read as the same: %s", raw)
	}
}

func TestParse_ErrorNamesNextStepAndHidesPassword(t *testing.T) {
	for raw, want := range map[string]string{
		"":                                  "is not postgres://",
		"u:canary@h/d":                      "is not postgres://",
		"mysql://u:canary@h/d":              "is not postgres://",
		"postgresql+asyncpg://u:canary@h/d": "names a library behind postgres+",
		"jdbc:postgresql://h/d?user=u&password=canary":             "JDBC",
		"host=h user=u password=canary dbname=d":                   "a list of keyword=value",
		"postgres://u:canary@h":                                    "names no database",
		"postgres://u:canary@h/":                                   "names no database",
		"postgres://u:canary#1@h/d":                                "# in it",
		"postgres://u:12/canary@h/d":                               "behind the host",
		"postgres://u:canary/x@h/d":                                "behind the host",
		"postgres://u:12?canary@h/d":                               "behind its ?",
		"postgres://u:canary?x@h/d":                                "behind its ?",
		"postgres://u:can%ary@h/d":                                 "hexadecimal",
		"postgres://u:canary@h:54e2/d":                             "port",
		"postgres://u:canary@h:0/d":                                "port",
		"postgres://u:canary@h:/d?port=70000":                      "port",
		"postgres://u:canary@::1/d":                                "in brackets",
		"postgres://u:canary@데이터베이스/d":                             "xn--",
		"postgres://u:canary@h h/d":                                "has a host",
		"postgres://u:canary@h1:1,h2:2/d?hostaddr=1.2.3.4":         "different number of servers",
		"postgres://u:canary@h/d?port=1,2":                         "one for each host",
		"postgres://u:canary@h/d?host=g":                           "host is given twice",
		"postgres://u:canary@h/d?host=/tmp":                        "host is given twice",
		"postgres://u:canary@h/d?password=canary":                  "password is given twice",
		"postgres://u@h/d?sslmode=disable&sslmode=require":         "sslmode is given twice",
		"postgres://u@h/d?sslmode=disable&SSLMODE=require":         "sslmode is given twice",
		"postgres://u:canary@h/d?sslmode=no-verify":                "write verify-full",
		"postgres://u@h/d?ssl=no-verify":                           "write sslmode=verify-full",
		"postgres://u@h/d?ssl=true&sslmode=disable":                "contradict",
		"postgres://u@h/d?sslmode=require&channel_binding=require": "channel_binding=require cannot be honoured",
		"postgres://u@h/d?gssencmode=require":                      "gssencmode",
		"postgres://u@h/d?sslmode=require&sslrootcert=system":      "verify-full",
		"postgres://u@h/d?sslmode=disable&sslnegotiation=direct":   "sslnegotiation",
		"postgres://u:canary@h/d\npostgres://u@g/d":                "line break",
		"postgres://u@h/d?ssl_mode=require":                        "write sslmode",
		"postgres://u:canary@h:1:2/d":                              "more than one :",
		"postgres://u@h/d?sslmode=verify-full;sslrootcert=x":       "none of disable",
		"postgres://u@h/d?service=canary":                          "parameter service is not supported",
		"postgres://u@h/d?sslpassword=canary":                      "parameter sslpassword",
		"postgres://u@h/d?connection_limit=5":                      "connection_limit sets the size of another library's pool",
		"postgres://u@h/d?ssl-mode=REQUIRED":                       "is another library's: write sslmode (it is written ssl-mode)",
		"postgres://u@h/d?reserve-pool-size=1":                     "size of another library's pool",
		"postgres://u:p?can-ary=x@h/d":                             "not name=value",
		"postgres://u@h/d?schema=shop":                             "parameter schema",
		"postgres://u@h/d?pool_mode=transaction":                   "pool_mode=session",
		"postgres://u@h/d?statement_cache_size=0":                  "parameter statement_cache_size",
		"postgres://u@h/d?target_session_attrs=standby":            "needs the primary",
		"postgres://u@h/d?connect_timeout=10s":                     "connect_timeout is no number",
		"postgres://u@h/d?hostaddr=canary.example":                 "hostaddr is no IP address",
		"postgres://u@h/d?client_encoding=LATIN1":                  "client_encoding",
		"postgres://u@h/d?datestyle=German":                        "datestyle",
		"postgres://u:canary%00x@h/d":                              "zero byte",
	} {
		_, err := pgurl.Parse(raw)
		require.ErrorContains(t, err, want, raw)
		require.NotContains(t, err.Error(), canary, raw)
	}
}

func TestURL_RedactedHidesSecrets(t *testing.T) {
	for _, raw := range []string{
		"postgres://u:canary@h/d", "postgres://u:can%61ry@h/d", "postgres:///d?host=h&password=canary", "postgres://u:a@canary@h/d",
		"postgres://u@h/d?options=canary", "postgres://u@h/d?sslinline=true&sslrootcert=canary&sslkey=canary", "postgres://u@h/d?app.key=canary",
	} {
		u, err := pgurl.Parse(raw)
		require.NoError(t, err)
		require.NotContains(t, u.Redacted()+u.Where(), canary)
	}
}

func TestURL_CompleteUsesVariables(t *testing.T) {
	for want, environ := range map[string][]string{
		"postgres://u@h:5432/d":                              {"PGTZ=Asia/Seoul", "PGDATESTYLE=German", "PGCLIENTENCODING=EUC_KR", "PGAPPNAME=x", "PGGEQO=off", "PGLOCALEDIR=/x", "PGSERVICEFILE=/x", "PGGSSENCMODE=disable", "PGSSLCOMPRESSION=0", "PGKRBSRVNAME=x", "PGDATABASE=other", "PGREQUIRESSL=0", "PGCHANNELBINDING=prefer"},
		"postgres://u:secret@h:5432/d":                       {"PGPASSWORD=secret", "PGUSER=other", "PGHOST=other", "PGPORT=1"},
		"postgres://u@h:5432/d?sslmode=disable":              {"PGSSLMODE=disable", "PGREQUIRESSL=1"},
		"postgres://u@h:5432/d?sslmode=require":              {"PGREQUIRESSL=1"},
		"postgres://u@h:5432/d?sslmode=verify-full":          {"PGCHANNELBINDING=require", "PGSSLMODE=verify-full"},
		"postgres://u@h:5432/d?options=-c+work_mem%3D8MB":    {"PGOPTIONS=-c work_mem=8MB"},
		"postgres://u@h:5432/d?connect_timeout=7":            {"PGCONNECT_TIMEOUT=7"},
		"postgres://u@h:5432/d?target_session_attrs=primary": {"PGTARGETSESSIONATTRS=primary"},
		"postgres://u@h:5432/d?passfile=%2Fhome%2F.pgpass":   {"PGPASSFILE=/home/.pgpass", "PGPASSWORD="},
	} {
		u, err := pgurl.Parse("postgres://u@h:5432/d")
		require.NoError(t, err)
		done, faults := u.Complete(environ)
		require.Empty(t, faults, environ)
		require.Equal(t, want, done.String(), environ)
		require.Equal(t, "postgres://u@h:5432/d", u.String())
	}
}

func TestURL_CompleteRefusesVariablesByName(t *testing.T) {
	for item, want := range map[string]string{
		"PGHOSTADDR=10.0.0.1":          "another server",
		"PGSERVICE=canary":             "another server",
		"PGPORT=6543":                  "port that the URL leaves out",
		"PGSSLMODE=no-verify":          "none of disable",
		"PGTARGETSESSIONATTRS=standby": "primary",
		"PGCONNECT_TIMEOUT=soon":       "seconds",
		"PGGSSENCMODE=require":         "gssencmode",
		"PGCHANNELBINDING=require":     "channel_binding",
		"PGREQUIREAUTH=scram-sha-256":  "require_auth",
		"PGREQUIREPEER=postgres":       "requirepeer",
		"PGSSLCRL=/x":                  "revocation",
	} {
		u, err := pgurl.Parse("postgres://u@h/d")
		require.NoError(t, err)
		_, faults := u.Complete([]string{item})
		require.Len(t, faults, 1, item)
		name, _, _ := strings.Cut(item, "=")
		require.Equal(t, name, errs.FieldOf(faults[0]))
		require.ErrorContains(t, faults[0], want)
		require.NotContains(t, faults[0].Error(), canary)
	}
	u, err := pgurl.Parse("postgres:///d")
	require.NoError(t, err)
	_, faults := u.Complete([]string{"PGHOST=elsewhere"})
	require.Len(t, faults, 1)
}

func TestURL_EncryptedChecksEveryHost(t *testing.T) {
	for raw, want := range map[string]string{
		"postgres://u@h/d?sslmode=verify-full":                             "",
		"postgres://u@h1,h2:5433/d?sslmode=verify-full":                    "",
		"postgres://u@h/d?sslrootcert=system":                              "",
		"postgres://u@/d?host=/run/postgresql":                             "",
		"postgres://u@/d?host=/run/a,/run/b":                               "",
		"postgres://u@/d?host=@abstract":                                   "abstract socket",
		"postgres://u@/d?host=/run/a,/tmp":                                 "socket in /tmp, to which every user may write",
		"postgres://u@h/d":                                                 "has no sslmode",
		"postgres://u@localhost/d":                                         "has no sslmode",
		"postgres://u@h/d?sslmode=require":                                 "sslmode=require",
		"postgres://u@h/d?sslmode=verify-ca":                               "sslmode=verify-ca",
		"postgres://u@h/d?sslmode=prefer":                                  "sslmode=prefer",
		"postgres://u@127.0.0.1/d?sslmode=disable":                         "sslmode=disable",
		"postgres://u@h/d?ssl=false":                                       "sslmode=disable",
		"postgres://u@/d?host=/run/a,h&sslmode=verify-full":                "host behind a Unix socket",
		"postgres://u@/d?host=/run/a&hostaddr=10.0.0.1&sslmode=disable":    "sslmode=disable",
		"postgres://u@/d?hostaddr=10.0.0.1":                                "has no sslmode",
		"postgres://u@h/d?sslmode=verify-full&sslrootcert=/nowhere/ca.pem": "names a file that cannot be read",
	} {
		u, err := pgurl.Parse(raw)
		require.NoError(t, err, raw)
		if want == "" {
			require.NoError(t, u.Encrypted(), raw)
			continue
		}
		require.ErrorContains(t, u.Encrypted(), want, raw)
		require.NotContains(t, u.Encrypted().Error(), "disable TLS")
	}
}

func TestURL_NoSilentPasswordRefusesOnlyDefaultFile(t *testing.T) { //nolint:paralleltest // sets HOME
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("APPDATA", home)
	silent := func(raw string) error {
		u, err := pgurl.Parse(raw)
		require.NoError(t, err)
		return u.NoSilentPassword()
	}
	require.NoError(t, silent("postgres://u@h/d"), "there is none")
	file := filepath.Join(home, ".pgpass")
	if runtime.GOOS == "windows" {
		file = filepath.Join(home, "postgresql", "pgpass.conf")
		require.NoError(t, os.Mkdir(filepath.Dir(file), 0o700))
	}
	require.NoError(t, os.WriteFile(file, []byte("*:*:*:*:canary\n"), 0o600))
	require.ErrorContains(t, silent("postgres://u@h/d"), "PGPASSFILE")
	require.NotContains(t, silent("postgres://u@h/d").Error(), canary)
	require.NoError(t, silent("postgres://u:p@h/d"))
	require.NoError(t, silent("postgres://u@h/d?passfile="+file))
}

func TestURL_ConfigRequiresReadableTLSFiles(t *testing.T) {
	for raw, missing := range map[string]bool{
		"postgres://u@localhost/d?sslrootcert=/nowhere":               false, // without TLS, on this machine
		"postgres://u@/d?host=/run/a&sslcert=/nowhere":                false,
		"postgres://u@h/d?sslmode=disable&sslkey=/nowhere":            false,
		"postgres://u@h/d?sslinline=true&sslrootcert=canary":          false,
		"postgres://u@h/d?sslrootcert=/nowhere":                       true,
		"postgres://u@localhost/d?sslmode=require&sslcert=/nowhere":   true,
		"postgres://u@h/d?sslmode=verify-full&sslkey=/nowhere/client": true,
	} {
		u, err := pgurl.Parse(raw)
		require.NoError(t, err, raw)
		_, err = u.Config()
		if !missing {
			require.NoError(t, err, raw)
			continue
		}
		require.ErrorContains(t, err, "cannot be read", raw)
	}
}

func TestURL_ConfigIgnoresEnvironment(t *testing.T) {
	u, err := pgurl.Parse(`postgres://u:it's\a@h/d`)
	require.NoError(t, err)
	want, err := u.Config()
	require.NoError(t, err)
	require.Equal(t, `it's\a`, want.Password)
	for name, value := range map[string]string{
		"PGHOST": "elsewhere", "PGHOSTADDR": "10.0.0.1", "PGPORT": "1", "PGSERVICE": "x", "PGSERVICEFILE": "/nowhere", "PGGSSENCMODE": "disable",
		"PGCLIENTENCODING": "EUC_KR", "PGDATESTYLE": "German", "PGOPTIONS": "-c nonsense=1", "PGSSLMODE": "disable", "PGREQUIRESSL": "1",
		"PGTARGETSESSIONATTRS": "nonsense", "PGCONNECT_TIMEOUT": "soon", "PGTZ": "Nowhere", "PGPASSWORD": "x", "PGUSER": "x", "PGDATABASE": "x",
		"PGAPPNAME": "x", "PGSSLROOTCERT": "/nowhere", "PGPASSFILE": "/nowhere", "PGLOCALEDIR": "/", "PGSYSCONFDIR": "/", "PGGEQO": "off",
		"PGSSLSNI": "maybe", "PGCHANNELBINDING": "require", "PGREQUIREAUTH": "none", "PGMINPROTOCOLVERSION": "9",
	} {
		t.Setenv(name, value)
	}
	got, err := u.Config()
	require.NoError(t, err)
	require.Equal(t, want, got)
}

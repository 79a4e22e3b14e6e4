package postgres_test

import (
	"net"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

// misleading are libpq variables as on a developer's machine. Each would lead to another
// server, or make lib/pq fail.
var misleading = map[string]string{
	"PGHOST": "203.0.113.1", "PGHOSTADDR": "203.0.113.1", "PGPORT": "1", "PGUSER": "nobody", "PGPASSWORD": "wrong", "PGDATABASE": "nothing",
	"PGSERVICE": "elsewhere", "PGSERVICEFILE": "/nowhere", "PGGSSENCMODE": "disable", "PGCLIENTENCODING": "EUC_KR", "PGDATESTYLE": "German",
	"PGTZ": "Asia/Seoul", "PGOPTIONS": "-c nonsense=1", "PGTARGETSESSIONATTRS": "standby", "PGCONNECT_TIMEOUT": "soon", "PGAPPNAME": "x",
	"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/nowhere", "PGREQUIRESSL": "1", "PGPASSFILE": "/nowhere", "PGLOCALEDIR": "/nowhere",
	"PGDATA": "/nowhere", "PGCHANNELBINDING": "require", "PGSYSCONFDIR": "/nowhere", "PGGEQO": "maybe", "PGREQUIREAUTH": "none",
}

func TestOpen_UsesOnlyTheURL(t *testing.T) {
	address := pgtest.URL(t)
	for name, value := range misleading {
		t.Setenv(name, value)
	}
	db := open(t, postgres.Config{URL: address})
	require.Equal(t, "UTC", text(t, db, "SHOW TimeZone"))
	l, err := postgres.NewListener(postgres.Config{URL: address}, nil)
	require.NoError(t, err)
	defer l.Close() //nolint:errcheck // only used for its address
	require.NoError(t, l.Listen("anything"))
	require.NoError(t, l.Ping())
}

func TestOpen_RefusesOtherEncodings(t *testing.T) {
	t.Parallel()
	address := pgtest.URL(t)
	admin := open(t, postgres.Config{URL: address, MaxConns: 1})
	for _, encoding := range []string{"SQL_ASCII", "EUC_KR", "LATIN1"} {
		name := text(t, admin, "SELECT current_database() || '_' || $1", encoding)
		exec(t, admin, `CREATE DATABASE "`+name+`" ENCODING '`+encoding+`' LOCALE 'C' TEMPLATE template0`)
		_, err := postgres.Open(t.Context(), postgres.Config{URL: changed(t, address, func(u *url.URL) { u.Path = "/" + name }), MaxConns: 1})
		require.Equal(t, errs.Invalid, errs.KindOf(err), "%v", err)
		require.ErrorContains(t, err, "encoding is "+encoding)
		require.ErrorContains(t, err, "ENCODING 'UTF8' TEMPLATE template0")
		exec(t, admin, `DROP DATABASE "`+name+`" WITH (FORCE)`)
	}
}

// Functions that shadow the server's own simulate a standby and an old version.
func TestOpen_RefusesStandbyAndOldServer(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		function, want string
		kind           errs.Kind
	}{
		"Standby": {"pg_is_in_recovery() RETURNS bool LANGUAGE sql AS 'SELECT true'", "is a standby", errs.Resource},
		"TooOld": {"current_setting(text) RETURNS text LANGUAGE sql AS $$SELECT CASE $1 WHEN 'server_version' THEN '12.22' WHEN 'server_version_num' THEN '120022' ELSE pg_catalog.current_setting($1) END$$",
			"PostgreSQL 12.22", errs.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := pgtest.URL(t)
			exec(t, open(t, postgres.Config{URL: address, MaxConns: 1}), "CREATE SCHEMA before; CREATE FUNCTION before."+row.function)
			_, err := postgres.Open(t.Context(), postgres.Config{URL: changed(t, address, func(u *url.URL) { u.RawQuery += "&search_path=before,pg_catalog" }), MaxConns: 1})
			require.ErrorContains(t, err, row.want)
			require.Equal(t, row.kind, errs.KindOf(err))
		})
	}
}

func TestWritable_ReportsReadOnlyServer(t *testing.T) {
	t.Parallel()
	address := pgtest.URL(t)
	require.NoError(t, postgres.Writable(t.Context(), open(t, postgres.Config{URL: address})))
	readOnly := changed(t, address, func(u *url.URL) {
		query := u.Query()
		query.Set("default_transaction_read_only", "on")
		u.RawQuery = query.Encode()
	})
	err := postgres.Writable(t.Context(), open(t, postgres.Config{URL: readOnly}))
	require.Equal(t, errs.Resource, errs.KindOf(err))
	require.ErrorContains(t, err, "default_transaction_read_only")
}

func TestOpen_ErrorExplainsFailedConnection(t *testing.T) {
	t.Parallel()
	address := pgtest.URL(t)
	with := func(name, value string) string {
		return changed(t, address, func(u *url.URL) {
			query := u.Query()
			query.Set(name, value)
			u.RawQuery = query.Encode()
		})
	}
	hangsUp := answering(t, func(net.Conn) {})
	noTLS := answering(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 8)); _, _ = c.Write([]byte("N")) })
	answers := func(code, message string) string {
		return answering(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1024))
			fields := "SFATAL\x00C" + code + "\x00M" + message + "\x00\x00"
			_, _ = c.Write(append([]byte{'E', 0, 0, 0, byte(4 + len(fields))}, fields...))
		})
	}
	clerk := func(host, query string) string { return "postgres://clerk:" + secret + "@" + host + "/orders" + query }
	empty := t.TempDir()
	for name, row := range map[string]struct {
		url, want string
		kind      errs.Kind
	}{
		"AParameterThatNobodyKnows":   {with("no_such_thing", "1"), "take it out of the URL", errs.Invalid},
		"AValueThatTheServerRefuses":  {with("work_mem", "much"), "take it out of the URL", errs.Invalid},
		"OptionsThatTheServerRefuses": {with("options", "-c no_such_thing=1"), "PGOPTIONS", errs.Invalid},
		"ARoleThatIsMissing":          {clerk(answers("28000", `role "clerk" does not exist`), "?sslmode=disable"), `CREATE ROLE "clerk"`, errs.Resource},
		"ADatabaseThatIsMissing":      {changed(t, address, func(u *url.URL) { u.Path = "/nowhere" }), `CREATE DATABASE "nowhere" ENCODING 'UTF8' TEMPLATE template0`, errs.Resource},
		"NoSuchHost":                  {clerk("database.invalid", ""), "DNS", errs.Resource},
		"NoSocket":                    {"postgres://clerk@/orders?host=" + empty, "there is no socket", errs.Resource},
		"NoTLS":                       {clerk(noTLS, "?sslmode=require"), "speaks no TLS: switch it on", errs.Resource},
		"ClosedWithoutAnAnswer":       {clerk(hangsUp, "?sslmode=disable"), "closed without an answer", errs.Resource},
		"AWrongPassword":              {clerk(answers("28P01", `password authentication failed for user "clerk"`), "?sslmode=disable"), "check the user and the password in the URL", errs.Resource},
		"NoLineInPgHba":               {clerk(answers("28000", `no pg_hba.conf entry for host "10.0.0.1", user "clerk", database "orders", SSL encryption`), "?sslmode=disable"), "add a line", errs.Resource},
		"PgHbaWantsTLS":               {clerk(answers("28000", `no pg_hba.conf entry for host "10.0.0.1", user "clerk", database "orders", no encryption`), "?sslmode=disable"), "write sslmode=verify-full", errs.Resource},
		"ARoleThatMayNotLogIn":        {clerk(answers("28000", `role "clerk" is not permitted to log in`), "?sslmode=disable"), "LOGIN", errs.Resource},
		"PeerAuthentication":          {clerk(answers("28000", `Peer authentication failed for user "clerk"`), "?sslmode=disable"), "host=localhost", errs.Resource},
		"NoRightToConnect":            {clerk(answers("42501", `permission denied for database "orders"`), "?sslmode=disable"), "GRANT CONNECT", errs.Resource},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := postgres.Open(t.Context(), postgres.Config{URL: row.url, MaxConns: 1})
			require.ErrorContains(t, err, row.want)
			require.Equal(t, row.kind, errs.KindOf(err), "%v", err)
			require.NotContains(t, err.Error(), secret)
			require.NotContains(t, err.Error(), "sslmode=disable", "the advice keeps TLS on")
		})
	}
}

// answering listens, calls do with each connection, and then closes it.
func answering(t *testing.T, do func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			do(client)
			_ = client.Close()
		}
	}()
	return l.Addr().String()
}

package postgres_test

import (
	"database/sql"
	"net"
	"net/url"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

const secret = "s3cret-canary"

func TestOpen_InvalidConfigErrorNamesField(t *testing.T) {
	t.Parallel()
	good := postgres.Config{URL: "postgres://u:" + secret + "@127.0.0.1/db", MaxConns: 1}
	for name, broken := range map[string]struct {
		change func(*postgres.Config)
		field  string
	}{
		"no connections":         {func(c *postgres.Config) { c.MaxConns = 0 }, "MaxConns"},
		"no URL":                 {func(c *postgres.Config) { c.URL = "" }, "URL"},
		"not PostgreSQL":         {func(c *postgres.Config) { c.URL = "mysql://u:" + secret + "@h/db" }, "URL"},
		"a slash in a password":  {func(c *postgres.Config) { c.URL = "postgres://u:" + secret + "/x@h/db" }, "URL"},
		"a letter in a port":     {func(c *postgres.Config) { c.URL = "postgres://u:" + secret + "@h:54e2/db" }, "URL"},
		"an sslmode nobody has":  {func(c *postgres.Config) { c.URL += "?sslmode=maybe" }, "URL"},
		"a schema with a quote":  {func(c *postgres.Config) { c.Schema = `a"b` }, "Schema"},
		"a schema in upper case": {func(c *postgres.Config) { c.Schema = "Payment" }, "Schema"},
	} {
		cfg := good
		broken.change(&cfg)
		_, err := postgres.Open(t.Context(), cfg)
		require.Error(t, err, name)
		require.Equal(t, errs.Invalid, errs.KindOf(err), name)
		require.Equal(t, broken.field, errs.FieldOf(err), name)
		require.NotContains(t, err.Error(), secret, name)
	}
}

func TestOpen_UnreachableServerErrorHidesPassword(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := closed.Addr().String()
	require.NoError(t, closed.Close())
	_, err = postgres.Open(t.Context(), postgres.Config{URL: "postgres://clerk:" + secret + "@" + address + "/orders", MaxConns: 1})
	require.Equal(t, errs.Resource, errs.KindOf(err))
	require.ErrorContains(t, err, address)
	require.ErrorContains(t, err, `user "clerk", database "orders"`)
	require.ErrorContains(t, err, "is the server running")
	require.NotContains(t, err.Error(), secret)
}

func TestOpen_GivesUpSilentServer(t *testing.T) {
	t.Parallel()
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer mute.Close() //nolint:errcheck // it never answers
	_, err = postgres.Open(t.Context(), postgres.Config{URL: "postgres://u@" + mute.Addr().String() + "/db", MaxConns: 1, ConnectTimeout: 50 * time.Millisecond})
	require.Equal(t, errs.Resource, errs.KindOf(err))
	require.ErrorContains(t, err, "nothing answered in 50ms")
}

func TestOpen_ReportsMissingDatabase(t *testing.T) {
	t.Parallel()
	_, err := postgres.Open(t.Context(), postgres.Config{URL: changed(t, pgtest.URL(t), func(u *url.URL) { u.Path = "/nowhere" }), MaxConns: 1})
	require.Equal(t, errs.Resource, errs.KindOf(err))
	require.ErrorContains(t, err, "create the database first")
}

func TestOpen_ConfigWinsOverURLAndURLOverDefault(t *testing.T) {
	t.Parallel()
	u := changed(t, pgtest.URL(t), func(u *url.URL) {
		q := u.Query()
		q.Set("statement_timeout", "11000")
		q.Set("lock_timeout", "12000")
		u.RawQuery = q.Encode()
	})
	db := open(t, postgres.Config{URL: u, LockTimeout: 13 * time.Second})
	require.Equal(t, "11s", text(t, db, "SHOW statement_timeout"))
	require.Equal(t, "13s", text(t, db, "SHOW lock_timeout"))
}

func TestOpen_ServerEndsFrozenTransactionAndWaiterContinues(t *testing.T) {
	t.Parallel()
	u := pgtest.URL(t)
	waiter := open(t, postgres.Config{URL: u, LockTimeout: time.Minute})
	exec(t, waiter, "CREATE TABLE a (x int); INSERT INTO a VALUES (1)")
	freeze := func(limit time.Duration) (*sql.Tx, error) {
		frozen, err := postgres.Open(t.Context(), postgres.Config{URL: u, Schema: "public", MaxConns: 1, IdleInTxTimeout: limit})
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { require.NoError(t, frozen.Close()) })
		tx, err := frozen.BeginTx(t.Context(), nil)
		if err == nil {
			_, err = tx.ExecContext(t.Context(), "UPDATE a SET x = $1", 2)
		}
		return tx, err
	}
	limit := 250 * time.Millisecond
	tx, err := freeze(limit)
	for err != nil { // on a slow machine, freeze itself may exceed the limit between two statements
		limit *= 2
		require.Less(t, limit, time.Minute, "%v", err)
		tx, err = freeze(limit)
	}

	exec(t, waiter, "UPDATE a SET x = x + $1", 10) // waits until the server ends the frozen transaction
	require.Equal(t, "11", text(t, waiter, "SELECT x::text FROM a"))
	require.Error(t, tx.Commit())
}

func TestOpen_LimitsPool(t *testing.T) {
	t.Parallel()
	db := open(t, postgres.Config{MaxConns: 3})
	require.Equal(t, 3, db.Stats().MaxOpenConnections)
}

// Each pool opened three connections, and used none of the first two.
func TestOpen_KeepsTheConnectionThatItTested(t *testing.T) {
	t.Parallel()
	var path proxied
	path.left.Store(1 << 60)
	through := path.to(t, pgtest.URL(t))
	require.Equal(t, "1", text(t, open(t, postgres.Config{URL: through, MaxConns: 2}), "SELECT '1'"))
	require.EqualValues(t, 2, path.connections.Load(), "the second one: whether each has a process of its own")
	require.Equal(t, "1", text(t, open(t, postgres.Config{URL: through, MaxConns: 2}), "SELECT '1'"))
	require.EqualValues(t, 3, path.connections.Load(), "that is known of this address")
}

func TestMigrate_OpensNoConnectionWhenUpToDate(t *testing.T) {
	t.Parallel()
	var path proxied
	path.left.Store(1 << 60)
	db := open(t, postgres.Config{URL: path.to(t, pgtest.URL(t)), MaxConns: 1})
	migrate := func(files fstest.MapFS) int64 {
		before := path.connections.Load()
		require.NoError(t, postgres.Migrate(t.Context(), db, "payment", "payment_version", files))
		return path.connections.Load() - before
	}
	files := fstest.MapFS{"00001_first.sql": {Data: []byte("-- +goose Up\nCREATE TABLE ledger (x int);\n")}}
	require.EqualValues(t, 1, migrate(files))
	require.Zero(t, migrate(files))
	files["00002_second.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\nINSERT INTO ledger VALUES (1);\n")}
	require.EqualValues(t, 1, migrate(files))
	require.Equal(t, "1", text(t, db, "SELECT count(*)::text FROM payment.ledger"))
}

func TestMigrate_IgnoresStatementTimeout(t *testing.T) {
	t.Parallel()
	db := open(t, postgres.Config{MaxConns: 1, StatementTimeout: 2 * time.Second, IdleInTxTimeout: 2 * time.Second}) // opening the pool must not exceed these
	slow := fstest.MapFS{"00001_slow.sql": {Data: []byte("-- +goose Up\nSELECT pg_sleep(2.2);\nCREATE TABLE here (x int);\n-- +goose Down\nSELECT 1;\n")}}
	require.NoError(t, postgres.Migrate(t.Context(), db, "delivery", "delivery_version", slow))
	require.Equal(t, "delivery.here", text(t, db, "SELECT to_regclass('delivery.here')::text"))
	require.NoError(t, postgres.Migrate(t.Context(), db, "delivery", "delivery_version", slow), "again is no change")
}

func TestMigrate_FailureKeepsEarlierMigrations(t *testing.T) {
	t.Parallel()
	db := open(t, postgres.Config{})
	files := fstest.MapFS{
		"00001_good.sql": {Data: []byte("-- +goose Up\nCREATE TABLE good (x int);\n-- +goose Down\nSELECT 1;\n")},
		"00002_bad.sql":  {Data: []byte("-- +goose Up\nCREATE TABLE half (x int);\nSELECT nonsense;\n-- +goose Down\nSELECT 1;\n")},
	}
	err := postgres.Migrate(t.Context(), db, "inquiry", "inquiry_version", files)
	require.ErrorContains(t, err, "migrate schema inquiry")
	require.ErrorContains(t, err, "00002_bad.sql")
	require.Equal(t, "true", text(t, db, "SELECT (to_regclass('inquiry.good') IS NOT NULL AND to_regclass('inquiry.half') IS NULL)::text"))
	files["00002_bad.sql"].Data = []byte("-- +goose Up\nCREATE TABLE half (x int);\n-- +goose Down\nSELECT 1;\n")
	require.NoError(t, postgres.Migrate(t.Context(), db, "inquiry", "inquiry_version", files))
}

func TestMigrate_CreatesSchemaWithoutMigrations(t *testing.T) {
	t.Parallel()
	db := open(t, postgres.Config{})
	require.NoError(t, postgres.Migrate(t.Context(), db, "empty", "empty_version", fstest.MapFS{}))
	require.Equal(t, "1", text(t, db, "SELECT count(*)::text FROM pg_namespace WHERE nspname = 'empty'"))
}

func changed(t *testing.T, address string, change func(*url.URL)) string {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	change(u)
	return u.String()
}

func TestOpen_RoleHasOnlyItsRights(t *testing.T) {
	t.Parallel()
	role := pgtest.RolePrefix(t) + "role"
	url := pgtest.URL(t)
	admin, err := postgres.Open(t.Context(), postgres.Config{URL: url, Schema: "public", MaxConns: 1})
	require.NoError(t, err)
	defer func() { require.NoError(t, admin.Close()) }()
	_, err = admin.ExecContext(t.Context(), `CREATE TABLE mine (); CREATE ROLE `+role)
	require.NoError(t, err)

	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, Schema: "public", Role: role, MaxConns: 1})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	var user string
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT current_user`).Scan(&user))
	require.Equal(t, role, user)
	_, err = db.ExecContext(t.Context(), `SELECT * FROM mine`)
	require.ErrorContains(t, err, "permission denied")

	_, err = postgres.Open(t.Context(), postgres.Config{URL: url, Role: "nobody_has_made_it", MaxConns: 1})
	require.ErrorContains(t, err, "nobody_has_made_it")
	_, err = postgres.Open(t.Context(), postgres.Config{URL: url, Role: "none; DROP", MaxConns: 1})
	require.Equal(t, errs.Invalid, errs.KindOf(err))
}

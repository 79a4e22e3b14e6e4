package devserver_test

import (
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/postgres/devserver"
)

func asOwner(t *testing.T, server *devserver.Server, database string) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", server.OwnerURL(database))
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() }) // the server may already have stopped
	return db
}

// TestOwner_IsNoSuperuser: SQL that is run with the program's role cannot run programs on
// the machine, or read its files.
func TestOwner_IsNoSuperuser(t *testing.T) {
	t.Parallel()
	server := start(t, config(dataDir(t)))
	require.NoError(t, server.CreateDatabase(t.Context(), "orders"))
	require.NoError(t, server.CreateRoles(t.Context(), "shop", "shop"), "again is no error")
	db := asOwner(t, server, "orders")
	exec1(t, db, "CREATE SCHEMA shop; CREATE TABLE shop.a AS SELECT 17 AS x; GRANT USAGE ON SCHEMA shop TO shop; SET ROLE shop; RESET ROLE")
	for _, statement := range []string{
		"COPY shop.a FROM PROGRAM 'echo 1'", "COPY shop.a TO '/tmp/a'", "SELECT pg_read_file('/etc/passwd')", "CREATE ROLE another", "CREATE DATABASE another",
		"ALTER ROLE postgres PASSWORD 'x'", "GRANT pg_execute_server_program TO millrace", "ALTER SYSTEM SET jit = on",
	} {
		_, err := db.ExecContext(t.Context(), statement)
		require.Error(t, err, statement)
	}
}

// TestOwner_GetsDatabaseOfOlderVersion: the role then owns everything in the database.
func TestOwner_GetsDatabaseOfOlderVersion(t *testing.T) {
	t.Parallel()
	server := start(t, config(dataDir(t)))
	exec1(t, connect(t, server, "postgres"), "CREATE DATABASE old")
	old := connect(t, server, "old")
	exec1(t, old, `CREATE SCHEMA shop;
		CREATE SEQUENCE shop.numbers;
		CREATE TABLE shop.a (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n serial, x int);
		CREATE TABLE shop.b (x int) PARTITION BY LIST (x);
		CREATE TABLE shop.b1 PARTITION OF shop.b FOR VALUES IN (1);
		CREATE VIEW shop.v AS SELECT * FROM shop.a;
		CREATE FUNCTION shop.f(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
		INSERT INTO shop.a (x) VALUES (17)`)
	for range 2 {
		require.NoError(t, server.CreateDatabase(t.Context(), "old"))
	}
	db := asOwner(t, server, "old")
	require.Equal(t, "17", value(t, db, "SELECT x FROM shop.a"))
	exec1(t, db, `ALTER TABLE shop.a ADD y int; ALTER TABLE shop.b ADD y int; ALTER SEQUENCE shop.numbers RESTART;
		INSERT INTO shop.a (x) VALUES (shop.f(1)); INSERT INTO shop.b VALUES (1);
		DROP VIEW shop.v; DROP FUNCTION shop.f; DROP SCHEMA shop CASCADE`)
}

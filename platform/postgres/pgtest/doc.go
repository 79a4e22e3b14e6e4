// Package pgtest gives a test a database of its own on a real PostgreSQL.
//
//	db, err := postgres.Open(ctx, postgres.Config{URL: pgtest.URL(t), MaxConns: 4})
//
// The first call in a test process starts a server of that process's own,
// by devserver: installed programs, else downloaded ones; a Unix socket; 300
// connections; nothing is synced to disk. An initialised cluster is kept in the
// system's folder for temporary files, by version, and copied, so that a start
// takes about a fifth of a second; any number of test processes share it. The
// server's files are in memory (/dev/shm) where 2 GiB are free there.
//
// The server ends with the test process, on Linux even if that is killed. Its
// folder is removed then (on Windows: by the next test process).
//
// MILLRACE_TEST_DATABASE_URL names a server to use instead: a postgres:// URL of
// a role that may create databases.
//
// A test that needs a database and has none fails, and says what to install. It
// never skips.
package pgtest

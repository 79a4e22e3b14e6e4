// Package pgtest gives a test a database of its own on a real PostgreSQL.
//
//	db, err := postgres.Open(ctx, postgres.Config{URL: pgtest.URL(t), MaxConns: 4})
//
// The first call in a test process starts a server for this process with devserver:
// installed programs, otherwise downloaded ones; a Unix socket; 1000 connections; no fsync.
// An initialised cluster is kept in the user's cache folder (privatedir.Cache), by version,
// and copied, so that a start takes about a fifth of a second; several test processes may
// share it. The server's files are in memory (/dev/shm) if 2 GiB are free there, otherwise
// in the folder for temporary files. The tests fail if another user made the folder, can
// write to it, or replaced it by a link.
//
// The server ends with the test process, on Linux even if that is killed, and its folder is
// removed (on Windows by the next test process).
//
// To use another server, set MILLRACE_TEST_DATABASE_URL to a postgres:// URL of a role that
// may create databases. To download and start another major version than the installed one,
// set MILLRACE_TEST_POSTGRES_MAJOR, for example to 18.
//
// If no server is available, a test fails and its message names what to install. It never
// skips.
package pgtest

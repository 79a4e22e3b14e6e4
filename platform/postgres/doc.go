// Package postgres opens databases and migrates their schemas. It is the only package that
// makes connections.
//
// # Open
//
// Open returns a *sql.DB on lib/pq. Its connections
//
//   - see one schema: the search path is Config.Schema alone, so SQL is unqualified and
//     cannot find another module's tables;
//   - have a limit for every wait: a statement, a lock, an idle transaction,
//     unacknowledged bytes, the connection itself (see Config). A process that freezes in
//     a transaction holds its locks for at most 3 s;
//   - have the rights of one role, if Config.Role names it;
//   - use the time zone UTC;
//   - prepare a text with arguments once and keep the statement; a connection keeps the
//     256 most recently used. lib/pq alone parses and plans each time, in two round trips.
//     A short UPDATE in a transaction of its own takes 0.26 ms instead of 0.37 ms
//     (BenchmarkStatement: 2 cores that client and server share, PostgreSQL 15, no fsync).
//     database/sql and everything above it, such as *sql.Tx, need no change.
//
// A text without arguments uses the simple protocol and may contain several statements.
//
// WARNING: never build a text from values. A value could contain another statement.
//
// If a table changes, prepared statements can become stale. Outside a transaction, a stale
// statement is prepared and run again without an error. In a transaction, the transaction
// fails (SQLSTATE 0A000 is errs.Contention), and a retry uses a fresh statement.
//
// If a context ends while a statement runs, the statement is cancelled in the server, and
// the error is the context's. If the transaction was begun with another context, ROLLBACK
// TO SAVEPOINT still works; the connection is closed afterwards. If the context given to
// BeginTx ends, the connection is closed. A statement with that same context is not
// watched a second time, which saves a goroutine: a transaction of four statements takes
// 0.29 ms instead of 0.32.
//
// If a statement takes longer than 1 s, or its context's deadline passes, another
// connection asks the server whether the statement waits for a lock, before it is
// cancelled. If it does, the error names the lock and the process that holds it, and a
// deadline or statement_timeout becomes errs.ErrLocked, of kind Resource: the statement was
// blocked, not slow. If there is no answer within 2 s, the error is a time-out. A deadline
// that passes between the rows of a large result is not covered: database/sql then returns
// its own error.
//
// Prepared statements, session settings and LISTEN need a server process per connection.
// Open therefore refuses a proxy that pools by transaction. A proxy that pools by session
// works; if it does not forward the settings of a session's first packet, a statement
// applies them.
//
// Open also refuses a server older than PostgreSQL 13 and a database whose encoding is not
// UTF8. A connection depends on its URL alone (package pgurl): libpq's variables and
// service files change nothing.
//
// # Migrate
//
// Migrate applies a module's goose files to its schema. Several processes may do so at
// once, and each may be killed: a migration is applied completely or not at all. Behind
// reports, without the right to change anything, whether migrations are missing.
//
// # Tests and development
//
// pgtest gives each test a database of its own; devserver runs a server for development.
// Both are real PostgreSQL.
package postgres

// Package postgres opens databases and brings their schemas up to date. It is
// the only place that knows how a connection is made.
//
// # Open
//
// Open returns a *sql.DB on lib/pq whose connections
//
//   - see one schema: the search path is Config.Schema alone, so that SQL is
//     unqualified and finds nothing of another module;
//   - have a bound for every wait: a statement, a lock, an idle transaction,
//     unacknowledged bytes, the connection itself (Config has the figures). A
//     process that freezes in a transaction holds its locks for 3 s;
//   - have the rights of one role, if Config.Role names it;
//   - tell the time in UTC;
//   - prepare a text with arguments once and keep its statement, up to 256 of
//     them, the most recently used. lib/pq alone has the server parse and plan
//     each time, in two round trips. One short UPDATE in a transaction of its own takes
//     0.26 ms instead of 0.37 ms here (BenchmarkStatement: 2 cores, client and
//     server share them, PostgreSQL 15, no fsync). database/sql and everything
//     built on it, *sql.Tx too, profits without knowing.
//
// A text without arguments goes through the simple protocol and may hold
// several statements. A text must therefore not be assembled from values: each
// would be a statement of its own.
//
// A statement that a change of a table made stale is prepared again: outside a
// transaction at once and unseen; inside one the transaction has failed (SQLSTATE
// 0A000 is errs.Contention) and its repetition finds a fresh statement.
//
// A context that ends while a statement runs cancels it in the server. The
// error is then the context's, and in a transaction that was begun with another
// context a ROLLBACK TO SAVEPOINT still works; the connection is not used again
// after that. A context given to BeginTx ends the connection. A statement under
// that same context is not watched a second time, which would cost a goroutine
// each: a transaction of four statements takes 0.29 ms instead of 0.32.
//
// Prepared statements, settings of the session and LISTEN need a server process
// of one's own: a proxy that pools by transaction is refused, with an error
// that says so.
//
// # Migrate
//
// Migrate applies a module's goose files to its schema. Any number of processes
// may do so at once, and any may be killed: a migration is there whole or not
// at all. Behind tells, without the right to change anything, whether there is
// something to apply.
//
// # Tests and development
//
// pgtest gives each test a database of its own; devserver runs a server for
// development. Both are real PostgreSQL.
package postgres

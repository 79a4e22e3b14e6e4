package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/lib/pq"

	"millrace/platform/errs"
)

// oldestVersion is the oldest supported server, as server_version_num.
const oldestVersion = 13_00_00

// probe tests the server, and returns the connection with which it did: the program must be
// able to work with the server, and each connection must have a server process of its own
// for as long as it lives. That is tested with a second connection, once for each address.
// Behind a proxy that pools by transaction (PgBouncer's pool_mode transaction or statement),
// two idle clients share a process, or one client gets another process each time. Prepared
// statements, session settings and LISTEN do not work there.
//
// A proxy that pools by session is accepted. If it does not forward the settings of a
// session's first packet (PgBouncer refuses them, or drops those in its
// ignore_startup_parameters), probe sets from.behindProxy, and a statement applies them.
func probe(ctx context.Context, from *connector) (tested pqConn, err error) {
	ctx, cancel := context.WithTimeout(ctx, from.ConnectTimeout)
	defer cancel()
	first, err := from.start(ctx)
	if refusesSettings(err) {
		from.behindProxy = true
		first, err = from.start(ctx)
	}
	if err != nil {
		return nil, from.cannotConnect(err)
	}
	defer func() {
		if err != nil && first != nil {
			_ = first.Close() // report the first error
		}
	}()
	server, err := look(ctx, first)
	if err != nil {
		return nil, from.cannotConnect(err)
	}
	if wanted := parseTime(from.Runtime["statement_timeout"]); wanted > 0 && server.statementTimeout != wanted && !from.behindProxy {
		from.behindProxy = true
		_ = first.Close() // it lacks our settings
		if first, err = from.raw(ctx); err != nil {
			return nil, err
		}
	}
	if server.standby {
		return nil, errs.New(errs.Resource, "the server at %s is a standby, which takes no changes: name the primary in the URL, or all servers (postgres://user:password@a,b/database?target_session_attrs=read-write)", from.where())
	}
	if _, proved := ownProcesses.Load(from.address()); !proved {
		if err := from.shared(ctx, first); err != nil {
			return nil, err
		}
		ownProcesses.Store(from.address(), true)
	}
	switch {
	case server.version < oldestVersion:
		return nil, errs.InvalidField("URL", "leads to PostgreSQL %s at %s: %d is the oldest that is supported; upgrade the server", server.name, from.where(), oldestVersion/10_000)
	case server.encoding != "UTF8":
		return nil, errs.InvalidField("URL", "leads to database %q at %s, whose encoding is %s: it must be UTF8. Make one, and name it in the URL: CREATE DATABASE %s ENCODING 'UTF8' TEMPLATE template0 LOCALE 'C'",
			from.Database, from.where(), server.encoding, pq.QuoteIdentifier(from.Database+"_utf8"))
	}
	return first, nil
}

// ownProcesses has the addresses that were found to give each connection its own server
// process, as a server without a pooler does. All pools of this process share it.
var ownProcesses sync.Map

// address is what a proxy distinguishes by.
func (c *connector) address() string {
	return fmt.Sprintf("%s:%d/%s %s %v %v", c.Host, c.Port, c.Database, c.User, c.Multi, c.behindProxy)
}

// shared returns an error if two connections can get the same server process.
func (c *connector) shared(ctx context.Context, first pqConn) error {
	mine, err := backend(ctx, first)
	if err != nil {
		return c.cannotConnect(err)
	}
	second, err := c.raw(ctx)
	if err != nil {
		return err
	}
	defer second.Close() //nolint:errcheck // used only for the probe
	held, err := second.BeginTx(ctx, driver.TxOptions{})
	if err != nil {
		return c.cannotConnect(err)
	}
	others, err := backend(ctx, second)
	if err != nil {
		return c.cannotConnect(err)
	}
	again, err := backend(ctx, first) // while the other's transaction is open
	if err != nil {
		return c.cannotConnect(err)
	}
	if err := held.Rollback(); err != nil {
		return c.cannotConnect(err)
	}
	if mine == others || mine != again {
		return errs.InvalidField("URL", "at %s is a proxy that pools by transaction (two connections share a server process): "+
			"prepared statements, session settings and LISTEN do not survive there; connect to PostgreSQL itself, or set the proxy's pool_mode to session", c.where())
	}
	return nil
}

// backend returns the id of the server process that answers.
func backend(ctx context.Context, c pqConn) (pid int64, err error) {
	row, err := ask(ctx, c, "SELECT pg_backend_pid()", 1)
	if err != nil {
		return 0, err
	}
	pid, ok := row[0].(int64)
	if !ok {
		return 0, fmt.Errorf("pg_backend_pid() answered %v", row[0])
	}
	return pid, nil
}

// facts are properties of a server.
type facts struct {
	name             string // its version, for messages
	version          int
	encoding         string // the database's encoding
	standby          bool   // the server is read only
	statementTimeout time.Duration
}

func look(ctx context.Context, c pqConn) (f facts, err error) {
	row, err := ask(ctx, c, `SELECT current_setting('server_version'), current_setting('server_version_num'), current_setting('server_encoding'),
		(SELECT setting FROM pg_settings WHERE name = 'statement_timeout'), pg_is_in_recovery()::text`, 5)
	if err != nil {
		return f, err
	}
	text := make([]string, len(row))
	for i, value := range row {
		text[i] = fmt.Sprintf("%s", value)
	}
	f.name, f.encoding, f.standby = text[0], text[2], text[4] == "true"
	if f.version, err = strconv.Atoi(text[1]); err != nil {
		return f, fmt.Errorf("read the server's version: %w", err)
	}
	limit, err := strconv.Atoi(text[3])
	if err != nil {
		return f, fmt.Errorf("read statement_timeout: %w", err)
	}
	f.statementTimeout = time.Duration(limit) * time.Millisecond
	return f, nil
}

// ask returns the only row of a statement.
func ask(ctx context.Context, c pqConn, statement string, columns int) (row []driver.Value, err error) {
	found, err := c.QueryContext(ctx, statement, nil)
	if err != nil {
		return nil, err
	}
	defer func() {
		if closeErr := found.Close(); err == nil {
			err = closeErr
		}
	}()
	row = make([]driver.Value, columns)
	return row, found.Next(row)
}

// Writable returns an error if the user cannot write through db. It is for the start; if a
// server changes its role later, writers wait.
func Writable(ctx context.Context, db *sql.DB) error {
	var readOnly bool
	if err := db.QueryRowContext(ctx, `SELECT current_setting('transaction_read_only')::bool`).Scan(&readOnly); err != nil {
		return fmt.Errorf("ask whether the database takes changes: %w", err)
	}
	if readOnly {
		return errs.New(errs.Resource, "the database takes no changes from this user (default_transaction_read_only is on): switch it off for the user or the database, or use another user")
	}
	return nil
}

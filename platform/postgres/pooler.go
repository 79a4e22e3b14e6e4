package postgres

import (
	"context"
	"database/sql/driver"
	"fmt"

	"millrace/platform/errs"
)

// refusePooler opens two connections and looks whether each has a server
// process of its own, for as long as it lives. Behind a proxy that pools by
// transaction (PgBouncer's pool_mode=transaction or statement) two idle clients
// are given the same process, or one client another process each time; then
// prepared statements, session settings and LISTEN belong to nobody.
//
// PgBouncer in its default configuration is refused earlier, for it does not
// take our session's settings. A proxy that pools by session passes.
func refusePooler(ctx context.Context, from *connector) (err error) {
	ctx, cancel := context.WithTimeout(ctx, from.ConnectTimeout)
	defer cancel()
	first, err := from.raw(ctx)
	if err != nil {
		return err
	}
	defer first.Close() //nolint:errcheck // it was only looked at
	mine, err := backend(ctx, first)
	if err != nil {
		return from.cannotConnect(err)
	}
	second, err := from.raw(ctx)
	if err != nil {
		return err
	}
	defer second.Close() //nolint:errcheck // it was only looked at
	held, err := second.BeginTx(ctx, driver.TxOptions{})
	if err != nil {
		return from.cannotConnect(err)
	}
	others, err := backend(ctx, second)
	if err != nil {
		return from.cannotConnect(err)
	}
	again, err := backend(ctx, first) // while the other holds its process
	if err != nil {
		return from.cannotConnect(err)
	}
	if err := held.Rollback(); err != nil {
		return from.cannotConnect(err)
	}
	if mine == others || mine != again {
		return errPooler(from.where(), "two connections share a server process")
	}
	return nil
}

// backend returns the number of the server process that answers.
func backend(ctx context.Context, c pqConn) (pid int64, err error) {
	found, err := c.QueryContext(ctx, "SELECT pg_backend_pid()", nil)
	if err != nil {
		return 0, err
	}
	defer func() {
		if closeErr := found.Close(); err == nil {
			err = closeErr
		}
	}()
	row := make([]driver.Value, 1)
	if err := found.Next(row); err != nil {
		return 0, err
	}
	pid, ok := row[0].(int64)
	if !ok {
		return 0, fmt.Errorf("pg_backend_pid() answered %v", row[0])
	}
	return pid, nil
}

func errPooler(where, sign string) error {
	return errs.InvalidField("URL", "at %s is a proxy that pools by transaction (%s): "+
		"prepared statements, session settings and LISTEN do not survive there; connect to PostgreSQL itself, or set the proxy's pool_mode to session", where, sign)
}

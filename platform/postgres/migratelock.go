package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"millrace/platform/errs"
)

// createSchema creates the schema unless it exists. A lock is needed because two processes
// could both find it missing, and IF NOT EXISTS does not prevent the second one's error. It
// checks first, because IF NOT EXISTS needs the right to create even if the schema exists.
func createSchema(ctx context.Context, db *sql.DB, schema string) error {
	if there, err := schemaExists(ctx, db, schema); err != nil || there {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // does nothing after Commit; before it, report the first error
	if err := sessionLock("create "+schema).take(ctx, tx, "pg_try_advisory_xact_lock"); err != nil {
		return err
	}
	there, err := schemaExists(ctx, tx, schema)
	if err != nil {
		return err
	}
	if !there {
		if _, err := tx.ExecContext(ctx, `CREATE SCHEMA "`+schema+`"`); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func schemaExists(ctx context.Context, db rowQuerier, schema string) (there bool, err error) {
	err = db.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", schema).Scan(&there)
	return there, err
}

// rowQuerier is a pool, a connection or a transaction.
type rowQuerier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// sessionLock is goose's session locker for one schema. Goose's own retries once a second;
// this one every 50 ms, until the context ends. It does not wait in the server: a waiting
// statement holds a snapshot, and the other process's CREATE INDEX CONCURRENTLY would wait
// for that snapshot.
type sessionLock string

// foreignHolder is how long a lock may be held by a role that may not migrate.
const foreignHolder = 3 * time.Second

func (l sessionLock) id() int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte("millrace migrate " + string(l))) // a write to a hash never fails
	return int64(h.Sum64())
}

func (l sessionLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	return l.take(ctx, conn, "pg_try_advisory_lock")
}

// take takes the lock with one of PostgreSQL's functions. Every user of the database can
// hold it, so it waits without a limit only for those that may migrate, too.
func (l sessionLock) take(ctx context.Context, on rowQuerier, try string) error {
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	limit := time.NewTimer(foreignHolder)
	defer limit.Stop()
	for {
		var mine bool
		if err := on.QueryRowContext(ctx, "SELECT "+try+"($1)", l.id()).Scan(&mine); err != nil {
			return err
		}
		if mine {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for another process that migrates: %w", ctx.Err())
		case <-limit.C:
			if err := l.foreign(ctx, on); err != nil {
				return err
			}
			limit.Reset(foreignHolder)
		case <-again.C:
		}
	}
}

// foreign returns an error if a role holds the lock that may not act as this user.
func (l sessionLock) foreign(ctx context.Context, on rowQuerier) error {
	var holder string
	err := on.QueryRowContext(ctx, `
		SELECT format('process %s (role %s; SELECT pg_terminate_backend(%1$s) ends it)', a.pid, quote_ident(a.usename))
		FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
			AND l.classid::bigint = ($1::bigint >> 32) & 4294967295 AND l.objid::bigint = $1::bigint & 4294967295
			AND NOT pg_has_role(a.usesysid, current_user, 'MEMBER') AND NOT pg_has_role(a.usesysid, session_user, 'MEMBER')`, l.id()).Scan(&holder)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("ask who holds the lock: %w", err)
	}
	return errs.New(errs.Resource, "%w: the lock of migrations is held by %s, who may not migrate", errs.ErrLocked, holder)
}

// SessionUnlock releases the lock. If it fails, the connection is broken, and the server has
// released the lock.
func (l sessionLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "SELECT pg_advisory_unlock($1)", l.id())
	return err
}

package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"path"
	"time"

	"github.com/pressly/goose/v3"

	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

// Migrate creates the schema if it is missing, and applies the goose files at the root of
// files that its version table does not list, in order. Each runs in a transaction of its
// own, except those marked "-- +goose NO TRANSACTION". Without files it only creates the
// schema.
//
// Several processes may call Migrate at once: one migrates, the others wait and then find
// nothing to do. If a process is killed, the migrations that it completed stay, and the
// next call continues after them.
//
// Migrate uses a connection of its own to db's database, without statement_timeout and
// lock_timeout, because a migration may take long; only ctx limits it. db must come from
// Open. SQL in the files is unqualified: the search path is the schema.
func Migrate(ctx context.Context, db *sql.DB, schema, versionTable string, files fs.FS) (err error) {
	defer errs.Wrap(&err, "migrate schema %s", schema)
	for field, name := range map[string]string{"schema": schema, "versionTable": versionTable} {
		if !identifier.MatchString(name) {
			return errs.InvalidField(field, "%q is not a plain lower-case identifier of at most 63 bytes", name)
		}
	}
	patient, err := patientPool(ctx, db, schema)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, patient.Close()) }()
	if err := createSchema(ctx, patient, schema); err != nil {
		return err
	}
	failpoint.Here("migrate.schema_created")
	provider, err := goose.NewProvider(goose.DialectPostgres, patient, files,
		goose.WithTableName(versionTable), goose.WithSessionLocker(sessionLock(schema)), goose.WithDisableGlobalRegistry(true))
	if errors.Is(err, goose.ErrNoMigrations) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = provider.Up(ctx)
	failpoint.Here("migrate.migrated")
	var partial *goose.PartialError
	if errors.As(err, &partial) && partial.Failed != nil && partial.Failed.Source != nil {
		return fmt.Errorf("%s: %w", path.Base(partial.Failed.Source.Path), partial.Err)
	}
	return err
}

// patientPool opens one connection to db's database without time limits.
func patientPool(ctx context.Context, db *sql.DB, schema string) (*sql.DB, error) {
	one, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer one.Close() //nolint:errcheck // returns it to its pool
	var patient *connector
	if err := one.Raw(func(raw any) error {
		ours, ok := raw.(*conn)
		if !ok {
			return fmt.Errorf("the database was opened by %T, not by postgres.Open", raw)
		}
		patient = &connector{Config: ours.from.Config.Clone(), dial: dialer{userTimeout: ours.from.dial.userTimeout}, behindProxy: ours.from.behindProxy, looking: make(chan struct{}, 1)}
		return nil
	}); err != nil {
		return nil, err
	}
	patient.Runtime["search_path"] = `"` + schema + `"`
	patient.Runtime["statement_timeout"] = "0"
	patient.Runtime["lock_timeout"] = "0"
	patient.Runtime["idle_in_transaction_session_timeout"] = milliseconds(time.Minute)
	pool := sql.OpenDB(patient)
	pool.SetMaxOpenConns(1)
	return pool, nil
}

// createSchema creates the schema unless it exists. A lock is needed because two processes
// could both find it missing, and IF NOT EXISTS does not prevent the second one's error. It
// checks first, because IF NOT EXISTS needs the right to create even if the schema exists.
func createSchema(ctx context.Context, db *sql.DB, schema string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // does nothing after Commit; before it, report the first error
	if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", sessionLock("create "+schema).id()); err != nil {
		return err
	}
	var there bool
	if err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", schema).Scan(&there); err != nil {
		return err
	}
	if !there {
		if _, err := tx.ExecContext(ctx, `CREATE SCHEMA "`+schema+`"`); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// sessionLock is goose's session locker for one schema. Goose's own retries once a second;
// this one every 50 ms, until the context ends. It does not wait in the server: a waiting
// statement holds a snapshot, and the other process's CREATE INDEX CONCURRENTLY would wait
// for that snapshot.
type sessionLock string

func (l sessionLock) id() int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte("millrace migrate " + string(l))) // a write to a hash never fails
	return int64(h.Sum64())
}

func (l sessionLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		var mine bool
		if err := conn.QueryRowContext(ctx, "SELECT pg_try_advisory_lock($1)", l.id()).Scan(&mine); err != nil {
			return err
		}
		if mine {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for another process that migrates: %w", ctx.Err())
		case <-again.C:
		}
	}
}

// SessionUnlock releases the lock. If it fails, the connection is broken, and the server has
// released the lock.
func (l sessionLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "SELECT pg_advisory_unlock($1)", l.id())
	return err
}

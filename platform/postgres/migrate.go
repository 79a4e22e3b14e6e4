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

// Migrate brings a schema up to date: it creates the schema if it is missing
// and applies the goose files at the root of files that its version table does
// not list yet, in order, each in a transaction of its own (but for those marked
// "-- +goose NO TRANSACTION"). An empty files only creates the schema.
//
// Any number of processes may call it at once: one works, the others wait and
// find nothing left to do. A process killed in the middle leaves whole
// migrations behind, and the next call goes on after them.
//
// It works on a connection of its own, to the database of db, without
// statement_timeout and lock_timeout: a migration takes as long as it takes,
// and ctx bounds it. db must come from Open. SQL in the files is unqualified:
// the search path is the schema.
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

// patientPool opens one connection to db's database that waits as long as it takes.
func patientPool(ctx context.Context, db *sql.DB, schema string) (*sql.DB, error) {
	one, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer one.Close() //nolint:errcheck // it goes back to its pool
	var patient *connector
	if err := one.Raw(func(raw any) error {
		ours, ok := raw.(*conn)
		if !ok {
			return fmt.Errorf("the database was opened by %T, not by postgres.Open", raw)
		}
		patient = &connector{Config: ours.from.Config.Clone(), dial: dialer{userTimeout: ours.from.dial.userTimeout}}
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

// createSchema creates the schema unless it is there. Two processes at once
// would both see it missing, and IF NOT EXISTS does not help the second; it
// also asks for the right to create even if there is nothing to create.
func createSchema(ctx context.Context, db *sql.DB, schema string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing; before, the first error is the one to tell
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

// sessionLock is goose's session locker for one schema. Goose's own tries at
// whole seconds; this one tries every 50 ms, until the context ends. It does
// not wait inside the server: a waiting statement holds a snapshot, for which
// the other side's CREATE INDEX CONCURRENTLY would wait in turn.
type sessionLock string

func (l sessionLock) id() int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte("millrace migrate " + string(l))) // a hash never fails
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

// SessionUnlock lets the next one in. If it fails the connection is lost, and
// the lock with it.
func (l sessionLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "SELECT pg_advisory_unlock($1)", l.id())
	return err
}

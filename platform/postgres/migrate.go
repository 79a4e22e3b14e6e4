package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
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
// If the version table lists them all, Migrate takes no lock and opens no connection.
//
// Several processes may call Migrate at once: one migrates, the others wait and then find
// nothing to do. If a process is killed, the migrations that it completed stay, and the
// next call continues after them.
//
// Nor does a caller wait for long if the lock's holder may not act as the user of the
// connection: the error then names the holder, and is a Resource error.
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
	if missing, known, err := missing(ctx, db, schema, versionTable, files); err != nil || known && len(missing) == 0 {
		return err
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

package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"millrace/config"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/datadir"
	"millrace/platform/errs"
	"millrace/platform/postgres"
	"millrace/platform/postgres/devserver"
)

// Database is the program's database: the configured one, or one on an embedded
// server.
type Database struct {
	url    string
	server *devserver.Server // the embedded server that Close ends; nil if there is none
	file   string            // the address file, by which other commands find our server
}

// embeddedName is the database's name on the embedded server.
const embeddedName = "millrace"

// OpenDatabase finds the database for a command that reads or repairs. If none is
// configured, it uses that of the program that serves from the same data_dir, or
// starts an embedded server on that data. If data_dir has no database, the error
// is NotFound, and nothing is created.
func OpenDatabase(ctx context.Context, cfg config.Config, log *slog.Logger) (*Database, error) {
	if cfg.Embedded() && !devserver.HasCluster(serverDir(cfg)) {
		return nil, noDatabase(cfg)
	}
	return MakeDatabase(ctx, cfg, log)
}

// MakeDatabase is OpenDatabase, but creates an embedded database if there is none
// yet.
func MakeDatabase(ctx context.Context, cfg config.Config, log *slog.Logger) (*Database, error) {
	if cfg.Embedded() {
		url, err := datadir.ReadFile(addressFile(cfg), longestAddress)
		if err == nil && reachable(ctx, string(url)) {
			return &Database{url: string(url)}, nil
		}
	}
	return startDatabase(ctx, cfg, log)
}

// startDatabase starts the embedded server if no database is configured. It
// refuses a data_dir that another program uses.
func startDatabase(ctx context.Context, cfg config.Config, log *slog.Logger) (_ *Database, err error) {
	if !cfg.Embedded() {
		return &Database{url: cfg.Database.URL.Reveal()}, nil
	}
	server, err := devserver.Start(ctx, devserver.Config{
		DataDir: serverDir(cfg), Within: cfg.DataDir, Setting: "data_dir", Log: log,
	})
	if err != nil {
		return nil, fmt.Errorf("embedded database: %w", err)
	}
	d := &Database{url: server.OwnerURL(embeddedName), server: server, file: addressFile(cfg)}
	defer func() {
		if err != nil {
			_ = d.Close() // report the first error
		}
	}()
	if err := server.CreateDatabase(ctx, embeddedName); err != nil {
		return nil, fmt.Errorf("embedded database: %w", err)
	}
	if err := server.CreateRoles(ctx, moduleRoles(cfg)...); err != nil {
		return nil, fmt.Errorf("embedded database: %w", err)
	}
	if err := datadir.WriteFile(d.file, []byte(d.url)); err != nil {
		return nil, datadir.Explain(err, cfg.DataDir, "data_dir")
	}
	return d, nil
}

// moduleRoles are the roles that Migrate grants rights to. The owner of an
// embedded database has no right to create them.
func moduleRoles(cfg config.Config) (all []string) {
	if cfg.Database.RolePrefix == "" {
		return nil
	}
	for _, module := range namesOf(here(cfg)) {
		all = append(all, roles(cfg).Of(module))
	}
	return all
}

// serverDir is the embedded server's folder.
func serverDir(cfg config.Config) string { return filepath.Join(cfg.DataDir, "postgres") }

// noDatabase is the error for a data_dir without an embedded database.
func noDatabase(cfg config.Config) error {
	dir, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		return err
	}
	return errs.New(errs.NotFound, "there is no database yet: DATABASE_URL is not set, and nothing has been served from data_dir %s. "+
		"Run `millrace serve` there first, set data_dir (MILLRACE_DATA_DIR) to the folder that it uses, or set DATABASE_URL", dir)
}

// AddressFile is the file in data_dir to which a program writes the URL of its
// embedded server while it serves.
const AddressFile = "database.url"

const longestAddress = 64 << 10 // bytes

func addressFile(cfg config.Config) string { return filepath.Join(cfg.DataDir, AddressFile) }

func reachable(ctx context.Context, url string) bool {
	db, err := postgres.Open(ctx, postgres.Config{URL: url, MaxConns: 1, Application: "millrace look"})
	if err != nil {
		return false // a killed program left the file
	}
	_ = db.Close() // opened only to test the connection
	return true
}

// URL is the database's URL; it may contain a password.
func (d *Database) URL() string { return d.url }

// ended is closed when the embedded server has ended. It is nil if there is none.
func (d *Database) ended() <-chan struct{} {
	if d.server == nil {
		return nil
	}
	return d.server.Done()
}

// Close ends the embedded server if this process started it.
func (d *Database) Close() error {
	if d.server == nil {
		return nil
	}
	return errors.Join(datadir.Remove(d.file), d.server.Stop())
}

// checkPools refuses a configuration that needs more connections than the server
// allows. It does not count other programs' connections, so it finds a mistake
// in our own settings, but not every shortage.
func checkPools(ctx context.Context, cfg config.Config, url string, hosted []string) error {
	db, err := postgres.Open(ctx, postgres.Config{URL: url, MaxConns: 1, Application: "millrace start"})
	if err != nil {
		return DatabaseError(err)
	}
	defer func() { _ = db.Close() }() // opened only for this query
	var most, reserved int
	if err := db.QueryRowContext(ctx, `
		SELECT current_setting('max_connections')::int,
		       current_setting('superuser_reserved_connections')::int + coalesce(current_setting('reserved_connections', true)::int, 0)`).
		Scan(&most, &reserved); err != nil {
		return fmt.Errorf("read max_connections: %w", err)
	}
	carried := 0
	if cfg.Transport == config.OnKafka {
		carried = sqltransport.BridgeConns
	}
	return poolsFit(cfg.Database.MaxConnsPerModule, carried, hosted, most, reserved)
}

// poolsFit adds up the connections: each module's pool, those of its bridge, and
// those that all modules share.
func poolsFit(perModule, carried int, hosted []string, most, reserved int) error {
	shared := len(hosted)*carried + sqltransport.SharedConns
	needed := len(hosted)*perModule + shared
	if free := most - reserved; needed > free {
		return errs.InvalidField("database.max_conns_per_module",
			"%d for each of %d modules (%s) and %d shared ones are %d connections, but the server gives %d (max_connections = %d, %d of them reserved): "+
				"set database.max_conns_per_module to at most %d, host fewer modules here, or raise the server's max_connections",
			perModule, len(hosted), strings.Join(hosted, ", "), shared, needed, free, most, reserved,
			max(0, (free-shared)/len(hosted)))
	}
	return nil
}

package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"millrace/config"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/errs"
	"millrace/platform/postgres"
	"millrace/platform/postgres/devserver"
)

// Database is the program's database: the configured one, or one on an
// embedded server.
type Database struct {
	url    string
	server *devserver.Server // nil unless it is ours to end
	file   string            // tells other commands where our server is
}

// embeddedName is the database's name on the embedded server.
const embeddedName = "millrace"

// OpenDatabase finds the database for a command that only looks or mends: if
// none is configured, that of the program that serves from the same data_dir,
// else an embedded server of its own on the same data.
func OpenDatabase(ctx context.Context, cfg config.Config, log *slog.Logger) (*Database, error) {
	if cfg.Embedded() {
		url, err := os.ReadFile(addressFile(cfg))
		if err == nil && reachable(ctx, string(url)) {
			return &Database{url: string(url)}, nil
		}
	}
	return startDatabase(ctx, cfg, log)
}

// startDatabase starts the embedded server if no database is configured. A
// data_dir that another program uses is refused.
func startDatabase(ctx context.Context, cfg config.Config, log *slog.Logger) (_ *Database, err error) {
	if !cfg.Embedded() {
		return &Database{url: cfg.Database.URL.Reveal()}, nil
	}
	server, err := devserver.Start(ctx, devserver.Config{
		DataDir: filepath.Join(cfg.DataDir, "postgres"), Setting: "data_dir", Log: log,
	})
	if err != nil {
		return nil, fmt.Errorf("embedded database: %w", err)
	}
	d := &Database{url: server.URL(embeddedName), server: server, file: addressFile(cfg)}
	defer func() {
		if err != nil {
			_ = d.Close() // the first error is the one to tell
		}
	}()
	if err := server.CreateDatabase(ctx, embeddedName); err != nil {
		return nil, fmt.Errorf("embedded database: %w", err)
	}
	if err := os.WriteFile(d.file, []byte(d.url), 0o600); err != nil {
		return nil, errs.InvalidField("data_dir", "cannot be written to: %s", err)
	}
	return d, nil
}

// AddressFile is, in data_dir, where a program writes its embedded server's URL
// while it serves.
const AddressFile = "database.url"

func addressFile(cfg config.Config) string { return filepath.Join(cfg.DataDir, AddressFile) }

func reachable(ctx context.Context, url string) bool {
	db, err := postgres.Open(ctx, postgres.Config{URL: url, MaxConns: 1, Application: "millrace look"})
	if err != nil {
		return false // a file that a killed program left
	}
	_ = db.Close() // it was only tried
	return true
}

// URL is where the database is; it may hold a password.
func (d *Database) URL() string { return d.url }

// ended is closed when an embedded server has ended; nil if there is none.
func (d *Database) ended() <-chan struct{} {
	if d.server == nil {
		return nil
	}
	return d.server.Done()
}

// Close ends the embedded server, if it is ours.
func (d *Database) Close() error {
	if d.server == nil {
		return nil
	}
	err := os.Remove(d.file)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, d.server.Stop())
}

// checkPools refuses a configuration whose connections do not fit the server.
// Other programs on the server count too, so this finds the mistake in our own
// numbers, not every shortage.
func checkPools(ctx context.Context, cfg config.Config, url string, hosted []string) error {
	db, err := postgres.Open(ctx, postgres.Config{URL: url, MaxConns: 1, Application: "millrace start"})
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // it was only asked
	var most, reserved int
	if err := db.QueryRowContext(ctx, `
		SELECT current_setting('max_connections')::int,
		       current_setting('superuser_reserved_connections')::int + coalesce(current_setting('reserved_connections', true)::int, 0)`).
		Scan(&most, &reserved); err != nil {
		return fmt.Errorf("read max_connections: %w", err)
	}
	carried := 0
	if cfg.Transport == config.OnKafka {
		carried = sqltransport.CarrierConns
	}
	return poolsFit(cfg.Database.MaxConnsPerModule, carried, hosted, most, reserved)
}

// poolsFit adds up: each module's pool, what its carrier has beside it, and what
// all share.
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

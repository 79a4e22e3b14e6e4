package sqltransport

import (
	"context"
	"database/sql"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"millrace/platform/bus/cluster"
	"millrace/platform/bus/store"
	"millrace/platform/errs"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgurl"
)

// statementTimeout is what one statement of the bus or of a module may take. A connection
// whose other end vanished is noticed 5 s later.
const statementTimeout = 10 * time.Second

// pools are the process's connections. Each job has its own, so that none waits for another.
type pools struct {
	url     string
	bus     *sql.DB // schema bus; reads every log
	lease   *sql.DB
	calls   *sql.DB            // the leases of outbound calls
	notify  *sql.DB            // its commits do not wait for the disk
	modules map[string]*sql.DB // each with its module's schema, and role if there is a prefix
	bridge  map[string]*sql.DB // likewise
}

// openPools connects the pools that do not belong to a module. With an error, close what is
// there.
func openPools(ctx context.Context, target string) (p *pools, err error) {
	p = &pools{modules: map[string]*sql.DB{}, bridge: map[string]*sql.DB{}}
	// Offsets follow the commit order only if each statement sees what was committed before it,
	// whatever the server's default is.
	if p.url, err = withParameter(target, "default_transaction_isolation", "read committed"); err != nil {
		return p, err
	}
	quiet, err := withParameter(p.url, "synchronous_commit", "off")
	if err != nil {
		return p, err
	}
	open := func(url, application string, conns int, lockTimeout time.Duration) (*sql.DB, error) {
		return postgres.Open(ctx, postgres.Config{URL: url, Schema: "bus", Application: application, MaxConns: conns, StatementTimeout: statementTimeout, LockTimeout: lockTimeout})
	}
	if p.bus, err = open(p.url, "millrace bus", busConns, 0); err != nil {
		return p, err
	}
	if err := store.RefuseUnsafe(ctx, p.bus); err != nil {
		return p, err
	}
	if p.lease, err = open(p.url, "millrace lease", leaseConns, 0); err != nil {
		return p, err
	}
	if p.calls, err = open(p.url, "millrace calls", callConns, time.Second); err != nil {
		return p, err
	}
	p.notify, err = open(quiet, "millrace notifier", 1, 0)
	return p, err
}

// openModule connects a module's pools.
func (p *pools) openModule(ctx context.Context, cfg Config, module string, node uuid.UUID) (err error) {
	pool := postgres.Config{URL: p.url, Schema: module, Application: cluster.ApplicationName(module, node), MaxConns: cfg.MaxConnsPerModule, StatementTimeout: statementTimeout}
	if cfg.RolePrefix != "" {
		pool.Role = cfg.RolePrefix + module
	}
	if p.modules[module], err = postgres.Open(ctx, pool); err != nil {
		return err
	}
	if cfg.Bridge != nil {
		pool.MaxConns = BridgeConns
		p.bridge[module], err = postgres.Open(ctx, pool)
	}
	return err
}

// close closes all connections.
func (p *pools) close(log *slog.Logger) {
	all := []*sql.DB{p.notify, p.lease, p.calls, p.bus}
	for _, of := range []map[string]*sql.DB{p.modules, p.bridge} {
		all = slices.AppendSeq(all, maps.Values(of))
	}
	for _, db := range all {
		if db == nil {
			continue
		}
		// A connection that broke before cannot end properly: nothing is lost with it.
		if err := db.Close(); err != nil {
			log.Debug("connection was broken already", "error", err.Error())
		}
	}
}

func withParameter(target, name, value string) (string, error) {
	u, err := pgurl.Parse(target)
	if err != nil {
		return "", errs.InvalidField("URL", "%s", err)
	}
	return u.With(name, value).String(), nil
}

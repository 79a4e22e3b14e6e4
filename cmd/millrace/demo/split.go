package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace/cmd/millrace/app"
	"millrace/cmd/millrace/proxy"
	"millrace/config"
	"millrace/platform/errs"
	"millrace/platform/postgres"
)

// part is a module with its own process and its own database.
type part struct {
	module  string
	serving config.Config
	db      *sql.DB // read only
}

// divide creates a database for every module, beside the one that the checks read.
func (s *stage) divide(ctx context.Context, cfg config.Config) error {
	if s.serving.Transport != config.OnKafka {
		return errs.InvalidField("transport", "modules with a database each need kafka between them")
	}
	if err := s.prepareChecking(ctx); err != nil {
		return err
	}
	for _, module := range s.topo.Modules() {
		url, err := s.makeDatabase(ctx, cfg, "_"+module)
		if err != nil {
			return err
		}
		p := &part{module: module, serving: s.serving}
		p.serving.Modules = []string{module}
		p.serving.Database.URL = config.Secret(url)
		p.serving.DataDir = filepath.Join(s.dir, module)
		if p.serving.HTTP.Address, err = freePort(); err != nil {
			return err
		}
		if p.db, err = postgres.Open(ctx, lookingAt(url)); err != nil {
			return err
		}
		s.parts = append(s.parts, p)
	}
	return nil
}

// prepareChecking creates every module's tables in the database that the checks read.
// Rows are copied table by table, so foreign keys are dropped.
func (s *stage) prepareChecking(ctx context.Context) error {
	database, err := app.OpenDatabase(ctx, s.serving, s.log)
	if err != nil {
		return err
	}
	if err := errors.Join(app.Migrate(ctx, s.serving, database), database.Close()); err != nil {
		return err
	}
	drops, err := askFor(ctx, s.db, nil, `SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', c.conrelid::regclass, c.conname)
		FROM pg_constraint c WHERE c.contype = 'f' AND c.conparentid = 0`)
	if err != nil {
		return err
	}
	for _, drop := range drops {
		if _, err := s.db.ExecContext(ctx, drop); err != nil {
			return fmt.Errorf("%s: %w", drop, err)
		}
	}
	return nil
}

// collect copies the rows of every module's database into the database that the checks
// read.
//
// Each database is copied from one snapshot, but the snapshots are taken one after
// another. That is enough to find out that all work is done: any open work was caused
// by a message, or by a row, that one of the databases shows as not done, whatever
// the order of the snapshots. A message that was handled between two snapshots may
// appear as handled but not as published, so the checks' results count only when all
// work is done.
func (s *stage) collect(ctx context.Context) error {
	asked := time.Now()
	s.collecting.Lock()
	defer s.collecting.Unlock()
	if s.collected.After(asked) { // a later caller has already copied
		return nil
	}
	began := time.Now()
	to, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = to.Rollback() }() // does nothing after Commit
	for _, p := range s.parts {
		if err := p.copyTo(ctx, to); err != nil {
			return fmt.Errorf("collect the tables of %s: %w", p.module, err)
		}
	}
	if err := to.Commit(); err != nil {
		return err
	}
	s.collected = began
	return nil
}

// copyTo replaces the module's rows by those of its own database, each table as one
// text in PostgreSQL's own format, which preserves all types exactly.
func (p *part) copyTo(ctx context.Context, to *sql.Tx) error {
	from, err := p.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = from.Rollback() }() // a read-only transaction
	tables, err := askFor(ctx, from, nil, `SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1`, p.module)
	if err != nil {
		return err
	}
	if len(tables) == 0 {
		return errs.New(errs.NotFound, "there are none")
	}
	for _, table := range tables {
		var rows string
		if err := from.QueryRowContext(ctx, fmt.Sprintf(`SELECT coalesce(array_agg(t)::text, '{}') FROM %s t`, table)).Scan(&rows); err != nil {
			return fmt.Errorf("%s: %w", table, err)
		}
		if _, err := to.ExecContext(ctx, "DELETE FROM "+table); err != nil {
			return fmt.Errorf("%s: %w", table, err)
		}
		if _, err := to.ExecContext(ctx, fmt.Sprintf(`INSERT INTO %[1]s OVERRIDING SYSTEM VALUE SELECT (t).* FROM unnest($1::%[1]s[]) t`, table), rows); err != nil {
			return fmt.Errorf("%s: %w", table, err)
		}
	}
	return nil
}

// looking returns the database with a module's current tables.
func (s *stage) looking(module string) looker {
	for _, p := range s.parts {
		if p.module == module {
			return p.db
		}
	}
	return s.db
}

// processes are all modules, each in a process of its own, behind a proxy in this
// process.
type processes struct {
	proxy    *proxy.Proxy
	children []*child
	cancel   context.CancelFunc // stops the proxy
	closed   chan struct{}      // closed when the proxy has stopped
	proxyErr error
	ended    chan struct{} // closed when any part ends by itself
	once     sync.Once
	stop     sync.Once
	stopErr  error
}

// serveSplit starts the proxy and every process, and waits until all are ready.
func serveSplit(ctx context.Context, s *stage, version string, log *slog.Logger) (_ *processes, err error) {
	cfg := s.serving
	for _, one := range s.parts {
		cfg.Proxy.Modules = append(cfg.Proxy.Modules, one.module+"=http://"+one.serving.HTTP.Address)
	}
	all := &processes{closed: make(chan struct{}), ended: make(chan struct{})}
	if all.proxy, err = proxy.New(cfg, version, log); err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	all.cancel = cancel
	go func() {
		defer close(all.closed)
		if all.proxyErr = all.proxy.Run(running); all.proxyErr != nil {
			all.over()
		}
	}()
	all.children = make([]*child, len(s.parts))
	starting, waiting := errgroup.WithContext(ctx)
	for i, one := range s.parts {
		starting.Go(func() (err error) {
			serving := one.serving
			serving.Payment.CallbackURL = all.proxy.URL() + "/callbacks/gateway"
			if all.children[i], err = serveChild(waiting, serving, s.logFile); err != nil {
				return fmt.Errorf("%s: %w", one.module, err)
			}
			all.children[i].name = one.module
			return nil
		})
	}
	if err := starting.Wait(); err != nil {
		_ = all.Stop() // report the first error
		return nil, err
	}
	for _, c := range all.children {
		go func() {
			select {
			case <-c.ended:
				all.over()
			case <-all.closed:
			}
		}()
	}
	return all, nil
}

func (a *processes) over() { a.once.Do(func() { close(a.ended) }) }

func (a *processes) URL() string            { return a.proxy.URL() }
func (a *processes) Ended() <-chan struct{} { return a.ended }

// Stop stops the proxy, and then every process.
func (a *processes) Stop() error {
	a.stop.Do(func() {
		a.cancel()
		<-a.closed
		failures := make([]error, len(a.children), len(a.children)+1)
		var ending sync.WaitGroup
		for i, c := range a.children {
			if c != nil {
				ending.Go(func() { failures[i] = c.Stop() })
			}
		}
		ending.Wait()
		a.stopErr = errors.Join(append(failures, a.proxyErr)...)
	})
	return a.stopErr
}

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
	"millrace/cmd/millrace/front"
	"millrace/config"
	"millrace/platform/errs"
	"millrace/platform/postgres"
)

// part is a module that is a process of its own, with a database of its own.
type part struct {
	module  string
	serving config.Config
	db      *sql.DB // to look, never to change
}

// divide gives every module a database of its own, beside the one that the
// checks look into.
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

// prepareChecking makes every module's tables in the database that the checks
// look into. Rows are brought there table by table, so that none may insist on
// another one.
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

// collect brings what is in every module's database into the one that the
// checks look into.
//
// Each database is read as of one instant, and they one after another. That is
// enough to find out that all is quiet: what is still going on was set off by a
// message or by work that one of the databases shows as not done, whatever was
// read first. A message that was handled between two readings may be seen as
// handled and not yet as said; so what the checks say counts when it is quiet.
func (s *stage) collect(ctx context.Context) error {
	asked := time.Now()
	s.collecting.Lock()
	defer s.collecting.Unlock()
	if s.collected.After(asked) { // somebody who asked later than this did it
		return nil
	}
	began := time.Now()
	to, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = to.Rollback() }() // after the commit it does nothing
	for _, p := range s.parts {
		if err := p.bring(ctx, to); err != nil {
			return fmt.Errorf("collect the tables of %s: %w", p.module, err)
		}
	}
	if err := to.Commit(); err != nil {
		return err
	}
	s.collected = began
	return nil
}

// bring replaces the module's rows by those of its own database, each table as
// one text: PostgreSQL reads what it wrote exactly, whatever the types.
func (p *part) bring(ctx context.Context, to *sql.Tx) error {
	from, err := p.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = from.Rollback() }() // it only read
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

// looking gives the database that has a module's tables as they are now.
func (s *stage) looking(module string) looker {
	for _, p := range s.parts {
		if p.module == module {
			return p.db
		}
	}
	return s.db
}

// processes are all modules, each in a process of its own, behind the front
// door, which is in this process.
type processes struct {
	door     *front.Door
	children []*child
	cancel   context.CancelFunc // of the door
	closed   chan struct{}      // when the door is
	doorErr  error
	ended    chan struct{} // when any part ended by itself
	once     sync.Once
	stop     sync.Once
	stopErr  error
}

// serveSplit opens the front door, starts every process and waits until all are
// ready.
func serveSplit(ctx context.Context, s *stage, version string, log *slog.Logger) (_ *processes, err error) {
	cfg := s.serving
	for _, one := range s.parts {
		cfg.Front.Modules = append(cfg.Front.Modules, one.module+"=http://"+one.serving.HTTP.Address)
	}
	all := &processes{closed: make(chan struct{}), ended: make(chan struct{})}
	if all.door, err = front.New(cfg, version, log); err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	all.cancel = cancel
	go func() {
		defer close(all.closed)
		if all.doorErr = all.door.Run(running); all.doorErr != nil {
			all.over()
		}
	}()
	all.children = make([]*child, len(s.parts))
	starting, waiting := errgroup.WithContext(ctx)
	for i, one := range s.parts {
		starting.Go(func() (err error) {
			serving := one.serving
			serving.Payment.CallbackURL = all.door.URL() + "/callbacks/gateway"
			if all.children[i], err = serveChild(waiting, serving, s.logFile); err != nil {
				return fmt.Errorf("%s: %w", one.module, err)
			}
			all.children[i].name = one.module
			return nil
		})
	}
	if err := starting.Wait(); err != nil {
		_ = all.Stop() // the first error is the one to tell
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

func (a *processes) URL() string            { return a.door.URL() }
func (a *processes) Ended() <-chan struct{} { return a.ended }

// Stop closes the door, and then asks every process to end.
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
		a.stopErr = errors.Join(append(failures, a.doorErr)...)
	})
	return a.stopErr
}

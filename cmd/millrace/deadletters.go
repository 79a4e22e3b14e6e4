package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"millrace/cmd/millrace/app"
	"millrace/config"
	"millrace/platform/bus"
	"millrace/platform/bus/deadletter"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/dispatch"
	"millrace/platform/errs"
	"millrace/platform/postgres"
)

type deadlettersCmd struct {
	List    deadlettersListCmd    `cmd:"" default:"1" help:"List the messages that failed for good, what waits behind them, and the calls to the outside that failed for good."`
	Retry   deadlettersRetryCmd   `cmd:"" help:"Hand dead letters back to their subscribers, and failed calls to their modules, to be tried anew."`
	Discard deadlettersDiscardCmd `cmd:"" help:"Dismiss a dead letter for good: it takes no effect, and what waits behind it goes on."`
}

type deadlettersListCmd struct{}

// Run lists. It may run while the program serves, and changes nothing.
func (*deadlettersListCmd) Run(ctx context.Context, cfg config.Config, log *slog.Logger, out io.Writer) error {
	return look(ctx, cfg, log, func(db *sql.DB, _ *bus.Topology, here []string) error {
		letters, err := deadletter.List(ctx, db, here)
		if err != nil {
			return err
		}
		calls, err := dispatch.Failed(ctx, db, here)
		if err != nil {
			return err
		}
		if len(letters) == 0 {
			fmt.Fprintln(out, "There are no dead letters.")
			return listCalls(out, calls)
		}
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "ID\tMESSAGE\tKEY\tATTEMPTS\tFAILED\tBEHIND IT\tKIND\tERROR")
		for _, l := range letters {
			fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\t%d\t%s\t%s\n", l.ID, l.Type, l.Key, l.Attempts,
				l.FailedAt.Local().Format("2006-01-02 15:04:05"), l.Behind, l.Kind, oneLine(l.Error, 120))
		}
		if err := errors.Join(table.Flush(), listCalls(out, calls)); err != nil {
			return err
		}
		fmt.Fprintln(out, "\nMend the cause, then: millrace deadletters retry ID")
		return nil
	})
}

type deadlettersRetryCmd struct {
	IDs []string `arg:"" name:"id" help:"As the list shows them: delivery/17, or payment/call/<uuid>."`
}

// Run hands the letters back, each in a transaction of its own. Those that
// cannot be are told, and the others are handed back all the same.
func (c *deadlettersRetryCmd) Run(ctx context.Context, cfg config.Config, log *slog.Logger, out io.Writer) error {
	return look(ctx, cfg, log, func(db *sql.DB, _ *bus.Topology, here []string) error {
		var failures []error
		for _, id := range c.IDs {
			by, err := retryOne(ctx, db, here, id)
			if err != nil {
				failures = append(failures, err)
				continue
			}
			fmt.Fprintf(out, "%s is tried again by %s, as soon as one serves.\n", id, by)
		}
		return errors.Join(failures...)
	})
}

// look gives a command the database of the configuration, as it is, the map of
// messages, and which modules are there for the database's user: modules that are
// processes of their own may have a database each, or a role each. The owner of
// the tables sees all, a member of a module's role that module. Looking must not
// migrate what an older version serves.
func look(ctx context.Context, cfg config.Config, log *slog.Logger, do func(db *sql.DB, topo *bus.Topology, here []string) error) error {
	if err := cfg.Validate(app.Modules()); err != nil {
		return err
	}
	database, err := app.OpenDatabase(ctx, cfg, log)
	if err != nil {
		return err
	}
	err = func() error {
		db, err := postgres.Open(ctx, postgres.Config{URL: database.URL(), Schema: "bus", MaxConns: 2, Application: "millrace operator"})
		if err != nil {
			return err
		}
		topo, err := app.Topology()
		var here []string
		if err == nil {
			here, err = sqltransport.Present(ctx, db, topo)
		}
		var hidden []string
		if err == nil {
			hidden, err = sqltransport.Hidden(ctx, db, topo)
		}
		if err == nil {
			if len(hidden) > 0 {
				log.Warn("this database user may not see all modules; the owner of the tables may", "hidden", hidden)
			}
			err = do(db, topo, here)
		}
		if pq.As(err, pqerror.UndefinedTable, pqerror.InvalidSchemaName, pqerror.UndefinedColumn) != nil {
			err = errs.New(errs.NotFound, "this database was not made by this version of the program: serve on it once, or run `millrace migrate` (%w)", err)
		}
		if pq.As(err, pqerror.InsufficientPrivilege) != nil {
			err = errs.New(errs.Forbidden, "this database user may not do that: use the owner of the tables, or a member of the module's role (%w)", err)
		}
		return errors.Join(err, db.Close())
	}()
	return errors.Join(err, database.Close())
}

// oneLine shortens a text to one line of at most n runes.
func oneLine(text string, n int) string {
	runes := []rune(text)
	for i, r := range runes {
		if r == '\n' || i == n {
			return string(runes[:i]) + "…"
		}
	}
	return text
}

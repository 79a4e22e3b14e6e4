package main

import (
	"context"
	"errors"
	"log/slog"
	"runtime"

	"github.com/alecthomas/kong"

	"millrace/cmd/millrace/app"
	"millrace/config"
	"millrace/platform/bus/admin"
	"millrace/platform/errs"
)

// cli is the program's command line. A command's Run gets the parameters it
// declares: the context that a signal ends, the configuration, the log, the
// standard output. Each is made only if a command declares it.
type cli struct {
	ConfigFile string `name:"config" short:"c" env:"MILLRACE_CONFIG" placeholder:"FILE" help:"YAML file of settings; the environment (MILLRACE_…) wins over it."`

	Serve       serveCmd       `cmd:"" default:"withargs" help:"Serve every module, or the named ones; the default."`
	Proxy       proxyCmd       `cmd:"" help:"Serve as the reverse proxy in front of modules that are processes of their own."`
	Demo        demoCmd        `cmd:"" help:"Play orders and consultations from end to end, and check that nothing was lost or doubled."`
	Parity      parityCmd      `cmd:"" help:"Play the same orders over each transport, and compare the results."`
	Migrate     migrateCmd     `cmd:"" help:"Migrate the database as the owner of its tables, and exit. With database.role_prefix: create the modules' roles and grant their rights, too."`
	Deadletters deadlettersCmd `cmd:"" help:"List the messages that failed for good, retry or discard them."`
	Payments    paymentsCmd    `cmd:"" help:"List the payments that need a person, or acknowledge one."`
	Trace       traceCmd       `cmd:"" help:"Show every message of an order or a consultation, across the modules."`
	Transport   transportCmd   `cmd:"" help:"Move a stopped installation to another transport, as the owner of its tables."`
	Config      configCmd      `cmd:"" help:"Print the configuration in force, without secrets, and what is wrong with it."`
	Version     versionCmd     `cmd:"" help:"Print the version."`
	Help        helpCmd        `cmd:"" help:"Print this, or the help of a command."`
}

type migrateCmd struct {
	Modules []string `placeholder:"NAME,…" help:"Modules whose tables are created, on Kafka, where modules may have databases of their own; the default is all."`
	Revoke  bool     `help:"Take rights that this version does not need from the modules' roles even while processes live: one of an older version that needs them fails. Without it they are listed."`
}

// Run migrates the database. It may run while the program serves.
func (c *migrateCmd) Run(ctx context.Context, cfg config.Config, log *slog.Logger, out *output) error {
	if len(c.Modules) > 0 {
		cfg.Modules = c.Modules
	}
	if err := cfg.Validate(app.Modules()); err != nil {
		return err
	}
	database, err := app.MakeDatabase(ctx, cfg, log)
	if err != nil {
		return err
	}
	left, err := app.MigrateAndRevoke(ctx, cfg, database, c.Revoke)
	if err != nil {
		_ = database.Close() // report the first error
		return err
	}
	out.Printf("The database is up to date.\n")
	printLeft(out, left)
	return database.Close()
}

// printLeft lists the excess rights that were not revoked, why, and what to do.
func printLeft(out *output, left admin.Left) {
	if len(left.Rights) == 0 {
		return
	}
	out.Printf("\nNOT REVOKED: the modules' roles keep %d rights that this version does not need:\n", len(left.Rights))
	for _, right := range left.Rights {
		out.Printf("  %s\n", right)
	}
	out.Printf("\nProcesses live, and may be of a version that needs them:\n")
	for _, process := range left.Processes {
		out.Printf("  %s\n", process)
	}
	out.Printf("\nMigrate again when those of the version before have ended. If all are of this version, or unknown to you (each module's role\n" +
		"may write that a process lives): millrace migrate --revoke\n")
}

// loaded is the configuration as far as it could be read, and the read errors.
type loaded struct {
	config config.Config
	err    error
}

// faults returns the read errors, and adds validation errors unless a file could not
// be read. If everything could be read, it does not validate, because flags may
// still change the configuration.
func (l loaded) faults() error {
	if l.err == nil || errors.Is(l.err, config.ErrUnread) {
		return l.err
	}
	return errors.Join(l.err, l.config.Validate(app.Modules()))
}

type configCmd struct{}

// Run prints the configuration and everything that is wrong with it. If a file could
// not be read, it prints only the error.
func (*configCmd) Run(read loaded, out *output) error {
	if errors.Is(read.err, config.ErrUnread) {
		return read.err
	}
	out.Block(read.config.Redacted())
	return errors.Join(read.err, read.config.Validate(app.Modules()))
}

type versionCmd struct{}

func (*versionCmd) Run(out *output) error {
	built := "an unknown commit"
	if c := builtFrom(); c != "" {
		built = "commit " + c
	}
	out.Printf("millrace %s, %s, %s/%s %s\n", release, built, runtime.GOOS, runtime.GOARCH, runtime.Version())
	return out.to.failure()
}

type helpCmd struct {
	Command []string `arg:"" optional:"" help:"The command to explain."`
}

func (h *helpCmd) Run(parser *kong.Kong) error {
	about, err := kong.Trace(parser, h.Command)
	if err != nil {
		return err
	}
	if about.Error != nil {
		return errs.As(errs.Invalid, about.Error)
	}
	if len(h.Command) == 0 {
		about.Path = about.Path[:1] // without the default command, which kong added
	}
	return about.PrintUsage(false)
}

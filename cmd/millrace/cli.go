package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"runtime/debug"

	"github.com/alecthomas/kong"

	"millrace/cmd/millrace/app"
	"millrace/config"
	"millrace/platform/errs"
)

// cli is the program's command line. A command's Run may ask for the context
// that a signal ends, the configuration, the log and the standard output; each
// is made when a command asks for it.
type cli struct {
	ConfigFile string `name:"config" short:"c" env:"MILLRACE_CONFIG" placeholder:"FILE" help:"YAML file of settings; the environment (MILLRACE_…) wins over it."`

	Serve       serveCmd       `cmd:"" default:"withargs" help:"Serve every module, or those named; the default."`
	Front       frontCmd       `cmd:"" help:"Serve as the front door of modules that are processes of their own."`
	Demo        demoCmd        `cmd:"" help:"Play orders and consultations from end to end, and prove that nothing was lost or happened twice."`
	Parity      parityCmd      `cmd:"" help:"Play the same orders over each transport, and compare what is left."`
	Migrate     migrateCmd     `cmd:"" help:"Bring the database up to date as the owner of its tables, and exit. With database.role_prefix: make the modules' roles and give them their rights, too."`
	Deadletters deadlettersCmd `cmd:"" help:"List the messages that failed for good, or have them tried again."`
	Trace       traceCmd       `cmd:"" help:"Tell the conversation of an order or a consultation across the modules."`
	Transport   transportCmd   `cmd:"" help:"Change how the messages of an installation travel, while it is stopped, as the owner of its tables."`
	Config      configCmd      `cmd:"" help:"Print the configuration in force, without secrets, and say what is wrong with it."`
	Version     versionCmd     `cmd:"" help:"Print the version."`
	Help        helpCmd        `cmd:"" help:"Print this, or the help of a command."`
}

type migrateCmd struct {
	Modules []string `placeholder:"NAME,…" help:"Modules whose tables are made, on Kafka, where modules may have databases of their own; the default is all."`
}

// Run migrates. It may run while the program serves.
func (c *migrateCmd) Run(ctx context.Context, cfg config.Config, log *slog.Logger, out io.Writer) error {
	if len(c.Modules) > 0 {
		cfg.Modules = c.Modules
	}
	if err := cfg.Validate(app.Modules()); err != nil {
		return err
	}
	database, err := app.OpenDatabase(ctx, cfg, log)
	if err != nil {
		return err
	}
	if err := app.Migrate(ctx, cfg, database); err != nil {
		_ = database.Close() // the first error is the one to tell
		return err
	}
	fmt.Fprintln(out, "The database is up to date.")
	return database.Close()
}

// loaded is the configuration as far as it could be read, and what could not.
type loaded struct {
	config config.Config
	err    error
}

type configCmd struct{}

// Run prints whatever is wrong: who mends a configuration wants to see it.
func (*configCmd) Run(read loaded, out io.Writer) error {
	fmt.Fprint(out, read.config.Redacted())
	return errors.Join(read.err, read.config.Validate(app.Modules()))
}

type versionCmd struct{}

func (*versionCmd) Run(out io.Writer) error {
	_, err := fmt.Fprintf(out, "millrace %s %s/%s %s\n", version(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	return err
}

// version is the module's version, or the revision that it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	return "development"
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
		about.Path = about.Path[:1] // not the default command, which was traced too
	}
	return about.PrintUsage(false)
}

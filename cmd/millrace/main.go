// Command millrace is the whole product in one program: payments, deliveries,
// notifications, consultations and their chats.
//
// It exits 0 when it did what it was asked to do, and after SIGINT or SIGTERM
// when everything in flight was finished; 2 when the command line or the
// configuration is not acceptable; 1 on any other failure. A second signal,
// more than a second after the first, exits at once with 130: nothing is lost
// by it, what was in flight is taken up at the next start.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"millrace/config"
	"millrace/platform/errs"
	"millrace/platform/postgres/devserver"
	"millrace/platform/telemetry"
)

const (
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

func main() {
	devserver.DieWithGoRun()
	ctx, stop := untilSignal(os.Exit)
	code := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// untilSignal returns a context that the first signal ends. The second one
// exits; but not if it comes with the first: who ends `go run` and its process
// group sends it twice.
func untilSignal(exit func(int)) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		first := time.Now()
		for range signals {
			if time.Since(first) > time.Second {
				exit(exitInterrupted)
			}
		}
	}()
	return ctx, func() { signal.Stop(signals); cancel() }
}

// run is the program but for the process around it.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	var grammar cli
	exit := -1 // what kong's --help asks for
	parser, err := kong.New(&grammar,
		kong.Name("millrace"),
		kong.Description("Payments, deliveries, notifications, consultations and their chats, in one program. Without a command it serves."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { exit = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.BindTo(stdout, (*io.Writer)(nil)),
		kong.BindSingletonProvider(func() loaded {
			cfg, err := config.Load(grammar.ConfigFile, environ)
			return loaded{cfg, err}
		}),
		kong.BindSingletonProvider(func(read loaded) (config.Config, error) { return read.config, read.err }),
		kong.BindSingletonProvider(func(cfg config.Config) (*slog.Logger, error) {
			log, err := telemetry.NewLogger(stderr, cfg.Log.Level, cfg.Log.Format)
			if err == nil {
				slog.SetDefault(log)
			}
			return log, err
		}),
	)
	if err != nil {
		return tell(stderr, err)
	}
	command, err := parser.Parse(args)
	switch {
	case exit >= 0:
		return exit
	case err != nil:
		_ = tell(stderr, err) // the code is that of a wrong command line, whatever the error's kind
		fmt.Fprintln(stderr, "`millrace help` lists the commands.")
		return exitUsage
	}
	if err := command.Run(); err != nil {
		return tell(stderr, err)
	}
	return 0
}

// tell prints an error for a person, each of several as an item of its own, and
// returns the exit code for it.
func tell(stderr io.Writer, err error) int {
	if faults := several(err); len(faults) == 1 {
		fmt.Fprintf(stderr, "millrace: %s\n", faults[0])
	} else {
		fmt.Fprintf(stderr, "millrace: %d things are wrong:\n", len(faults))
		for _, fault := range faults {
			fmt.Fprintf(stderr, "  - %s\n", strings.ReplaceAll(fault.Error(), "\n", "\n    "))
		}
	}
	var code interface{ ExitCode() int }
	switch {
	case errors.As(err, &code):
		return code.ExitCode()
	case errs.KindOf(err) == errs.Invalid:
		return exitUsage
	}
	return exitFailed
}

// several are the errors that errors.Join put together, however deep. Any other
// error is one, though its text may have many lines or name several causes.
func several(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error }) //nolint:errorlint // what wraps a join says something about it as a whole
	if !ok || errors.Join(joined.Unwrap()...).Error() != err.Error() {
		return []error{err}
	}
	var all []error
	for _, one := range joined.Unwrap() {
		all = append(all, several(one)...)
	}
	return all
}

// Command millrace is the whole product in one program: payments, deliveries,
// notifications, consultations and their chats.
//
// Exit codes:
//
//   - 0: the command succeeded, or SIGINT or SIGTERM arrived and all work in
//     flight was finished
//   - 2: the command line or the configuration is invalid
//   - 130: a second signal arrived more than a second after the first. The
//     process exits at once; unfinished work is processed after the next start.
//   - 141: the output is a pipe whose reader has exited (| head). The command
//     ends without a message, as if by SIGPIPE; serve and proxy continue.
//   - 1: any other failure, for example a result that cannot be printed because
//     the disk is full
package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/alecthomas/kong"

	"millrace/cmd/millrace/app"
	"millrace/cmd/millrace/terminal"
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
	keepOwnRights()
	devserver.DieWithGoRun()
	ctx, stop := untilSignal(os.Exit)
	code := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// untilSignal returns a context that the first signal ends. A second signal exits
// the process, unless it arrives within a second: ending the process group of
// `go run` sends the program each signal twice.
func untilSignal(exit func(int)) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // otherwise a write to a closed pipe would end the process; output reports it
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

// run is the program without its process: arguments, environment and output are parameters.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	var grammar cli
	out, complain := newOutput(stdout), terminal.New(stderr)
	exit := -1 // set by kong when --help exits
	parser, err := kong.New(&grammar,
		kong.Name("millrace"),
		kong.Description("Payments, deliveries, notifications, consultations and their chats, in one program. Without a command it serves."),
		kong.Writers(out, complain),
		kong.Exit(func(code int) { exit = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.NamedMapper("number", kong.MapperFunc(number)),
		kong.Bind(out),
		kong.Bind(&bar{stderr}),
		kong.BindSingletonProvider(func() loaded {
			cfg, err := config.Load(grammar.ConfigFile, environ)
			return loaded{cfg, err}
		}),
		kong.BindSingletonProvider(func(read loaded) (config.Config, error) { return read.config, read.faults() }),
		kong.BindSingletonProvider(func(cfg config.Config) (*slog.Logger, error) {
			log, err := telemetry.NewLogger(stderr, cfg.Log.Level, cfg.Log.Format)
			if err != nil {
				return nil, cmp.Or(cfg.Validate(app.Modules()), err) // report it with all other faults
			}
			slog.SetDefault(log)
			return log, nil
		}),
	)
	if err != nil {
		return printErrors(complain, err)
	}
	for i, arg := range args {
		if !utf8.ValidString(arg) { // kong would silently replace invalid bytes by U+FFFD
			return printErrors(complain, errs.New(errs.Invalid, "argument %d is not UTF-8: use a terminal, or a script, in UTF-8", i+1))
		}
	}
	command, err := parser.Parse(args)
	if unprinted := out.result(nil); unprinted != nil { // the output of --help
		return printErrors(complain, unprinted)
	}
	switch {
	case exit >= 0:
		return exit
	case err != nil:
		_ = printErrors(complain, err) // the exit code is 2, whatever the error's kind
		complain.Printf("`millrace help` lists the commands.\n")
		return exitUsage
	}
	if err := out.result(command.Run()); err != nil {
		return printErrors(complain, err)
	}
	return 0
}

// printErrors prints an error, each of several joined errors as an item, and
// returns the exit code for it.
func printErrors(complain *terminal.Printer, err error) int {
	if errors.Is(err, errReaderGone) {
		return readerGone{}.ExitCode()
	}
	if faults := several(err); len(faults) == 1 {
		complain.Block("millrace: " + item(faults[0]))
	} else {
		complain.Printf("millrace: %d things are wrong:\n", len(faults))
		for _, fault := range faults {
			complain.Block("  - " + item(fault))
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

// item is an error's text with all lines but the first indented, so that a text
// that an error quotes cannot look like another item.
func item(err error) string { return strings.ReplaceAll(err.Error(), "\n", "\n    ") + "\n" }

// several splits an error that errors.Join made, recursively. Any other error stays
// one item, even if its text has many lines.
func several(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error }) //nolint:errorlint // an error that wraps a join is about the whole join
	if !ok || errors.Join(joined.Unwrap()...).Error() != err.Error() {
		return []error{err}
	}
	var all []error
	for _, one := range joined.Unwrap() {
		all = append(all, several(one)...)
	}
	return all
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == workerArgument {
		// An interrupt reaches the whole group; the parent process ends it.
		signal.Ignore(os.Interrupt)
		if err := worker(context.Background(), os.Args[2], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "bench worker:", err)
			os.Exit(1)
		}
		return
	}
	o, err := parse(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, o, os.Stdout, os.Stderr); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// quickLimit leaves something of 2 minutes for what is under way.
const quickLimit = 100 * time.Second

// bench takes the measures, prints the figures to out and what goes on to log.
func bench(ctx context.Context, o options, out, log io.Writer) (err error) {
	r := &run{scale: o.scale(), found: newFindings(), log: log, options: o}
	started, loadBefore := time.Now(), load()
	if r.server, err = startServer(ctx, o.statements); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.kafka.stop(), r.server.stop()) }()
	all := measures()
	for i, m := range all {
		if o.quick && o.rounds == 0 {
			// Each measure gets its share of the time that is left.
			r.until = started.Add(quickLimit * time.Duration(i+1) / time.Duration(len(all)))
		}
		if len(o.only) > 0 && !slices.Contains(o.only, m.name) {
			continue
		}
		fmt.Fprintf(log, "%5.0f s  %s\n", time.Since(started).Seconds(), m.name)
		if err = m.take(ctx, r); err != nil {
			err = fmt.Errorf("%s: %w", m.name, err)
			break // what was found before it is shown
		}
	}
	return errors.Join(err, r.show(out, loadBefore, time.Since(started)))
}

// show prints what was found.
func (r *run) show(out io.Writer, loadBefore string, took time.Duration) error {
	fmt.Fprintf(r.log, "%5.0f s  done\n", took.Seconds())
	var version string
	if err := r.server.admin.QueryRowContext(context.Background(), `SHOW server_version`).Scan(&version); err != nil {
		return err
	}
	report(out, r.found, version, loadBefore)
	if r.options.json {
		line, err := json.Marshal(summary(r.found))
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s\n", line)
	}
	return nil
}

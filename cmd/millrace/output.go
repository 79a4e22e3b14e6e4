package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"syscall"

	"millrace/cmd/millrace/terminal"
	"millrace/platform/errs"
)

// output is where a command prints its result.
type output struct {
	*terminal.Printer
	to *sink
}

// sink keeps the first write error and drops all later output. So a command may
// ignore write errors, and run reports once that the output is incomplete.
type sink struct {
	to io.Writer

	mu     sync.Mutex
	err    error
	failed chan struct{} // closed with the first error
}

func newOutput(to io.Writer) *output {
	s := &sink{to: to, failed: make(chan struct{})}
	return &output{Printer: terminal.New(s), to: s}
}

func (s *sink) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.to.Write(text)
	if err != nil {
		s.err = err
		close(s.failed)
	}
	return n, err
}

// failure is the first write error.
func (s *sink) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// announce prints a line that is not a command's result: if it fails, it is logged,
// and the program continues to serve.
func (o *output) announce(log *slog.Logger, format string, args ...any) {
	if _, err := io.WriteString(o.to.to, terminal.Sprintf(format, args...)); err != nil {
		log.Warn("standard output cannot be written", "error", err)
	}
}

// until returns a context that also ends with the first write error, for a command
// whose only result is its output.
func (o *output) until(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-o.to.failed:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// result adds an incomplete output to a command's own error. If the output is a
// pipe whose reader has exited (| head), the result is errReaderGone alone.
func (o *output) result(err error) error {
	failure := o.to.failure()
	switch {
	case failure == nil:
		return err
	case errors.Is(failure, syscall.EPIPE):
		return errReaderGone
	case errors.Is(err, failure): // the command already returned it
		err = nil
	}
	return errors.Join(err, errs.New(errs.Resource, "the output is incomplete: %w", failure))
}

// errReaderGone ends the program without a message, with the exit code of a program
// that SIGPIPE ended.
var errReaderGone error = readerGone{}

type readerGone struct{}

func (readerGone) Error() string { return "the reader of the output has gone" }
func (readerGone) ExitCode() int { return 128 + int(syscall.SIGPIPE) }

// bar is where a command shows its progress; on a terminal as a bar.
type bar struct{ to io.Writer }

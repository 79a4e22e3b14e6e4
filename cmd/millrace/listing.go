package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"millrace/platform/bus/deadletter"
	"millrace/platform/dispatch"
)

// listing is what `millrace deadletters` prints.
type listing struct {
	places   places
	letters  []lying[deadletter.Letter]
	calls    []lying[dispatch.FailedCall]
	failures []error
}

// lying is a thing, and the database where it is, if its module is in several.
type lying[T any] struct {
	it    T
	where string
}

// add reads what is in one database.
func (l *listing) add(ctx context.Context, p place) {
	letters, err := deadletter.List(ctx, p.db, p.here)
	if err != nil {
		l.failures = append(l.failures, p.failed(err))
	}
	for _, letter := range letters {
		l.letters = append(l.letters, lying[deadletter.Letter]{letter, l.places.where(letter.Subscriber, p)})
	}
	calls, err := dispatch.Failed(ctx, p.db, p.here)
	if err != nil {
		l.failures = append(l.failures, p.failed(err))
	}
	for _, call := range calls {
		l.calls = append(l.calls, lying[dispatch.FailedCall]{call, l.places.where(call.Module, p)})
	}
}

func (l *listing) print(out io.Writer) error {
	slices.SortStableFunc(l.letters, func(a, b lying[deadletter.Letter]) int { return a.it.FailedAt.Compare(b.it.FailedAt) })
	slices.SortStableFunc(l.calls, func(a, b lying[dispatch.FailedCall]) int { return a.it.FailedAt.Compare(b.it.FailedAt) })
	return errors.Join(l.printLetters(out), l.printCalls(out))
}

func (l *listing) printLetters(out io.Writer) error {
	switch {
	case len(l.letters) == 0 && len(l.failures) > 0:
		fmt.Fprintln(out, "No dead letters could be read.")
		return nil
	case len(l.letters) == 0:
		fmt.Fprintln(out, "There are no dead letters.")
		return nil
	}
	var dead, waiting []string
	var rows [][]string
	for _, lying := range l.letters {
		letter := lying.it
		rows = append(rows, []string{letter.ID, letter.Type, letter.Key, fmt.Sprint(letter.Attempts), moment(letter.FailedAt), fmt.Sprint(letter.Behind),
			letter.State, letter.Kind, oneLine(letter.Error, 120), lying.where})
		if letter.State == deadletter.Dead {
			dead = append(dead, letter.ID)
		} else {
			waiting = append(waiting, letter.Subscriber+" "+letter.Type)
		}
	}
	if err := table(out, []string{"ID", "MESSAGE", "KEY", "ATTEMPTS", "FAILED", "BEHIND IT", "STATE", "KIND", "ERROR", "DATABASE"}, rows); err != nil {
		return err
	}
	fmt.Fprintln(out)
	if dead != nil {
		fmt.Fprintln(out, "Mend the cause, then: millrace deadletters retry ID")
	}
	if waiting != nil {
		fmt.Fprintln(out, "What is not dead waits for a version of its module that knows its type, and goes on as soon as one serves. If none ever will:")
		slices.Sort(waiting)
		for _, subscription := range slices.Compact(waiting) {
			fmt.Fprintf(out, "  millrace deadletters forget %s --reason …\n", subscription)
		}
	}
	return nil
}

// printCalls shows the calls to the outside that failed for good, if there are any.
func (l *listing) printCalls(out io.Writer) error {
	if len(l.calls) == 0 {
		return nil
	}
	fmt.Fprintln(out, "\nCalls to the outside that failed for good:")
	var rows [][]string
	for _, lying := range l.calls {
		call := lying.it
		rows = append(rows, []string{call.ID, call.Name, call.Key, fmt.Sprint(call.Attempts), moment(call.FailedAt), oneLine(call.Error, 120), lying.where})
	}
	if err := table(out, []string{"ID", "CALL", "KEY", "ATTEMPTS", "FAILED", "ERROR", "DATABASE"}, rows); err != nil {
		return err
	}
	fmt.Fprintln(out, "\nMend the cause, then: millrace deadletters retry", l.calls[0].it.ID)
	return nil
}

// table prints rows under their heads, without the last column if nobody has it.
func table(out io.Writer, heads []string, rows [][]string) error {
	last := len(heads) - 1
	if !slices.ContainsFunc(rows, func(row []string) bool { return row[last] != "" }) {
		heads = heads[:last]
	}
	to := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(to, strings.Join(heads, "\t"))
	for _, row := range rows {
		fmt.Fprintln(to, strings.Join(row[:len(heads)], "\t"))
	}
	return to.Flush()
}

func moment(at time.Time) string { return at.Local().Format("2006-01-02 15:04:05") }

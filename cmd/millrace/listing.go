package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"millrace/cmd/millrace/terminal"
	"millrace/platform/bus/deadletter"
	"millrace/platform/outbound"
)

// listing is what `millrace deadletters` prints.
type listing struct {
	places   places
	letters  []located[deadletter.Letter]
	calls    []located[outbound.FailedCall]
	waiting  []located[outbound.WaitingCalls]
	failures []error
	limit    int  // of dead letters, and of failed calls
	more     bool // there are more calls
}

// located is an item, with its database's name if its module is in several.
type located[T any] struct {
	it    T
	where string
}

// add reads the items of one database.
func (l *listing) add(ctx context.Context, p place) {
	letters, err := deadletter.List(ctx, p.db, p.here, l.limit+1)
	if err != nil {
		l.failures = append(l.failures, p.failed(err))
	}
	for _, letter := range letters {
		l.letters = append(l.letters, located[deadletter.Letter]{letter, l.places.where(letter.Subscriber, p)})
	}
	calls, err := outbound.Failed(ctx, p.db, p.here, l.limit+1)
	if err != nil {
		l.failures = append(l.failures, p.failed(err))
	}
	for _, call := range calls {
		l.calls = append(l.calls, located[outbound.FailedCall]{call, l.places.where(call.Module, p)})
	}
	waiting, err := outbound.Waiting(ctx, p.db, p.here)
	if err != nil {
		l.failures = append(l.failures, p.failed(err))
	}
	for _, calls := range waiting {
		l.waiting = append(l.waiting, located[outbound.WaitingCalls]{calls, l.places.where(calls.Module, p)})
	}
}

func (l *listing) print(out *terminal.Printer) {
	slices.SortStableFunc(l.letters, func(a, b located[deadletter.Letter]) int { return a.it.FailedAt.Compare(b.it.FailedAt) })
	slices.SortStableFunc(l.calls, func(a, b located[outbound.FailedCall]) int { return a.it.FailedAt.Compare(b.it.FailedAt) })
	if l.more = len(l.calls) > l.limit; l.more {
		l.calls = l.calls[:l.limit]
	}
	l.printLetters(out)
	l.printCalls(out)
	l.printWaiting(out)
}

func (l *listing) printLetters(out *terminal.Printer) {
	switch {
	case len(l.letters) == 0 && len(l.failures) > 0:
		out.Printf("No dead letters could be read.\n")
		return
	case len(l.letters) == 0:
		out.Printf("There are no dead letters.\n")
		return
	}
	more := len(l.letters) > l.limit
	if more {
		l.letters = l.letters[:l.limit]
	}
	var dead, waiting []string
	var rows [][]string
	for _, located := range l.letters {
		letter := located.it
		rows = append(rows, []string{letter.ID, letter.Type, letter.Key, fmt.Sprint(letter.Attempts), moment(letter.FailedAt), fmt.Sprint(letter.Behind),
			letter.State, letter.Kind, oneLine(letter.Error, 120), located.where})
		if letter.State == deadletter.Dead {
			dead = append(dead, letter.ID)
		} else {
			waiting = append(waiting, terminal.Command("millrace deadletters forget --reason …", letter.Subscriber, letter.Type))
		}
	}
	table(out, []string{"ID", "MESSAGE", "KEY", "ATTEMPTS", "FAILED", "BEHIND IT", "STATE", "KIND", "ERROR", "DATABASE"}, rows)
	if more {
		out.Printf("There are more; these are the %d oldest (--limit).\n", l.limit)
	}
	out.Printf("\n")
	if dead != nil {
		out.Printf("Mend the cause, then: millrace deadletters retry ID\n")
	}
	if waiting != nil {
		out.Printf("What is not dead waits for a version of its module that knows its type, and goes on as soon as one serves. If none ever will:\n")
		slices.Sort(waiting)
		for _, command := range slices.Compact(waiting) {
			out.Printf("  %s\n", command)
		}
	}
}

// printCalls prints the outbound calls that were given up, if there are any.
func (l *listing) printCalls(out *terminal.Printer) {
	if len(l.calls) == 0 {
		return
	}
	out.Printf("\nCalls to the outside that failed for good:\n")
	var rows [][]string
	for _, located := range l.calls {
		call := located.it
		rows = append(rows, []string{call.ID, call.Name, call.Key, fmt.Sprint(call.Attempts), moment(call.FailedAt), oneLine(call.Error, 120), located.where})
	}
	table(out, []string{"ID", "CALL", "KEY", "ATTEMPTS", "FAILED", "ERROR", "DATABASE"}, rows)
	if l.more {
		out.Printf("There are more; these are the %d oldest (--limit).\n", l.limit)
	}
	out.Printf("\nMend the cause, then: %s\n", terminal.Command("millrace deadletters retry", l.calls[0].it.ID))
}

// printWaiting prints the outbound calls that wait after an error, if there are
// any. They are retried without an operator.
func (l *listing) printWaiting(out *terminal.Printer) {
	if len(l.waiting) == 0 {
		return
	}
	out.Printf("\nCalls to the outside that wait and are made again without your doing:\n")
	var rows [][]string
	for _, located := range l.waiting {
		calls := located.it
		rows = append(rows, []string{calls.Module, calls.Name, fmt.Sprint(calls.Waiting), moment(calls.Oldest), oneLine(calls.Error, 300), located.where})
	}
	table(out, []string{"MODULE", "CALL", "WAITING", "OLDEST", "LAST ERROR", "DATABASE"}, rows)
}

// table prints rows under their headings, without the last column if it is empty.
func table(out *terminal.Printer, heads []string, rows [][]string) {
	last := len(heads) - 1
	if !slices.ContainsFunc(rows, func(row []string) bool { return row[last] != "" }) {
		heads = heads[:last]
		for i := range rows {
			rows[i] = rows[i][:last]
		}
	}
	out.Table(0, append([][]string{heads}, rows...)...)
}

func moment(at time.Time) string { return at.Local().Format("2006-01-02 15:04:05") }

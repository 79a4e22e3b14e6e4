package demo

import (
	"context"
	"fmt"

	"millrace/modules/payment/gateway/simulator"
	"millrace/platform/bus"
	"millrace/platform/mail/devinbox"
)

// evidence is what a check may look at.
type evidence struct {
	db            looker // one snapshot
	topo          *bus.Topology
	tallies       []tally
	book          simulator.Book
	mails         []devinbox.Message
	orders        []string // the order keys that were handed in
	consultations int      // how many were handed in
	files         string   // where the data platform's files are
}

// check is one promise and how it is looked for. find returns what breaks it,
// each offender in a sentence.
type check struct {
	name    string
	promise string
	find    func(context.Context, *evidence) ([]string, error)
}

// finding is what a check found.
type finding struct {
	Name      string
	Promise   string
	Offenders []string
}

// checks are those that only look. S7 and S8, which act, are in callbacks.go.
var checks = []check{
	{"IN", "everything that was handed in is there, once: a payment for each order, and each consultation", handedIn},
	{"S1", "a business change and its event commit together or not at all: every change has one event, every event its change", changesHaveEvents},
	{"S2", "a message takes effect at most once for each subscriber, and a UNIQUE constraint keeps it so", effectsAreSingle},
	{"S3", "the inbox says that a message was handled if and only if the handler's effect is there", inboxesHaveEffects},
	{"S4", "messages of one key take effect in order and without gaps, for each subscriber", orderIsKept},
	{"S5", "0 ≤ refunded ≤ captured at every instant, in whole minor units, and every change of either has its history row", moneyIsBounded},
	{"S6", "at most one successful charge per order in the gateway's own book, and the same amounts there and here", booksAgree},
	{"L1", "nothing is left to do: no message is pending, retrying, held or lost, and none is a dead letter", nothingIsLeft},
	{"L2", "every completed payment has one notification that was mailed, one record, and for goods one delivery", paymentsAreFollowed},
	{"DP", "every recorded event is in exactly one of the data platform's files", filesHaveEverything},
}

// look runs every check.
func look(ctx context.Context, e *evidence) ([]finding, error) {
	var all []finding
	for _, c := range checks {
		offenders, err := c.find(ctx, e)
		if err != nil {
			return nil, fmt.Errorf("check %s: %w", c.name, err)
		}
		all = append(all, finding{c.name, c.promise, offenders})
	}
	return all, nil
}

// sentences runs queries whose rows are offenders.
func sentences(ctx context.Context, db looker, queries ...string) (all []string, err error) {
	for _, query := range queries {
		if all, err = askFor(ctx, db, all, query); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func askFor(ctx context.Context, db looker, to []string, query string, args ...any) ([]string, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("%w, in: %s", err, query)
	}
	defer rows.Close()
	for rows.Next() {
		var offender string
		if err := rows.Scan(&offender); err != nil {
			return nil, err
		}
		to = append(to, offender)
	}
	return to, rows.Err()
}

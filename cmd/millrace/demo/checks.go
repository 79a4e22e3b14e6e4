package demo

import (
	"context"
	"fmt"

	"millrace/modules/payment/gateway/simulator"
	"millrace/platform/bus"
	"millrace/platform/mail/devinbox"
)

// evidence is everything that the checks read.
type evidence struct {
	db            looker // one snapshot of the database
	topo          *bus.Topology
	tallies       []tally
	book          simulator.Book
	mails         []devinbox.Message
	orders        []string // the order keys of the input
	consultations int      // the number in the input
	files         string   // the folder with the data platform's files
}

// check is one promise and the function that checks it. find returns the offenders,
// one sentence each.
type check struct {
	name    string
	promise string
	find    func(context.Context, *evidence) ([]string, error)
}

// finding is the result of a check.
type finding struct {
	Name      string
	Promise   string
	Offenders []string
}

// checks are the checks that only read. S7 and S8, which send callbacks, are in
// callbacks.go.
var checks = []check{
	{"IN", "every input is there, once: a payment for each order, and each consultation", handedIn},
	{"S1", "a business change and its event commit together or not at all: every change has one event, every event its change", changesHaveEvents},
	{"S2", "a message takes effect at most once for each subscriber, and a UNIQUE constraint keeps it so", effectsAreSingle},
	{"S3", "an inbox row exists if and only if the handler's effect does", inboxesHaveEffects},
	{"S4", "messages of one key take effect in order and without gaps, for each subscriber", orderIsKept},
	{"S5", "0 ≤ refunded ≤ captured at every instant, in whole minor units, and every change of either has its history row", moneyIsBounded},
	{"S6", "at most one successful charge per order in the gateway's own book, and the same amounts there and here", booksAgree},
	{"L1", "nothing is left to do: no message is pending, retrying, blocked or lost, and none is a dead letter", nothingIsLeft},
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

// sentences runs queries that return one offender per row.
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

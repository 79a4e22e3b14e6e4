package model

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// settled waits until all outcomes match the model.
func (r *runner) settled() {
	r.t.Helper()
	r.current()
	r.wait(r.differences)
}

// check publishes a last message of every type for every key. When these have their
// outcomes, all earlier messages have been handled, and unwanted effects have
// happened, too. Then it compares with the model, stops all processes, and
// compares again.
func (r *runner) check() {
	r.t.Helper()
	for _, kinds := range [][]string{{"paid", "noted", "pack"}, {"rung"}} {
		tx := transaction{}
		for key := range keys {
			for _, kind := range kinds {
				tx.Messages = append(tx.Messages, planned{Kind: kind, Key: key})
			}
		}
		for !r.publish([]transaction{tx}, false) {
			r.t.Logf("once more: %v", tx)
		}
	}
	r.settled()
	for _, p := range r.workers {
		r.end(p)
	}
	r.workers = nil
	if wrong := r.differences(); wrong != "" {
		r.t.Fatalf("after the end:\n%s", wrong)
	}
	for what, query := range map[string]string{
		"effects without an inbox row, or the other way round, at store": bookkeeping("store"),
		"effects without an inbox row, or the other way round, at late":  bookkeeping("late"),
		"effects of store without one message of it, or the other way":   `SELECT count(*) FROM store.effects e FULL JOIN store.log l ON l.metadata->>'causationid' = e.message::text WHERE l.id IS NULL OR e.message IS NULL`,
		"effects of store with several messages":                         `SELECT count(*) - count(DISTINCT metadata->>'causationid') FROM store.log`,
		"rows in the shop's book without a message, or the other way":    book("shop", `SELECT * FROM shop.log UNION ALL SELECT * FROM store.queue`),
		"rows in the till's book without a message, or the other way":    book("till", `SELECT * FROM till.log`),
	} {
		var n int
		r.must(r.sql.QueryRowContext(context.Background(), query).Scan(&n))
		if n != 0 {
			r.t.Fatalf("%s: %d", what, n)
		}
	}
}

func bookkeeping(module string) string {
	return fmt.Sprintf(`SELECT count(*) FROM %[1]s.inbox i FULL JOIN %[1]s.effects e ON e.message = i.message_id WHERE e.message IS NULL OR i.message_id IS NULL`, module)
}

func book(module, messages string) string {
	return fmt.Sprintf(`SELECT count(*) FROM %s.book b FULL JOIN (SELECT DISTINCT (convert_from(payload, 'UTF8')::json->>'n')::int AS n FROM (%s) AS all_of_it) AS l USING (n) WHERE b.n IS NULL OR l.n IS NULL`, module, messages)
}

// differences compares the actual outcomes with the model, for each subscriber.
func (r *runner) differences() string {
	var all []string
	for _, subscriber := range []string{"store", "late"} {
		if r.model.subscribers[subscriber] == nil {
			continue
		}
		got, had := r.happened(subscriber)
		want := r.model.of(subscriber, func(n int) bool { return had[n] })
		for place := range merged(want.effects, got.effects) {
			if !slices.Equal(want.effects[place], got.effects[place]) {
				all = append(all, fmt.Sprintf("%s, %s: effects %v, want %v", subscriber, place, got.effects[place], want.effects[place]))
			}
		}
		for n := range merged(want.parked, got.parked) {
			if want.parked[n] != got.parked[n] {
				all = append(all, fmt.Sprintf("%s, message %d (%v) is parked as %q, want %q", subscriber, n, r.model.committed[n], got.parked[n], want.parked[n]))
			}
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

func merged[K comparable, V any](a, b map[K]V) map[K]V {
	both := maps.Clone(a)
	maps.Copy(both, b)
	return both
}

// happened reads the outcomes of messages at a subscriber. had has the messages
// with any outcome.
func (r *runner) happened(subscriber string) (got outcomes, had map[int]bool) {
	got, had = outcomes{map[string][]int{}, map[int]string{}}, map[int]bool{}
	rows, err := r.sql.QueryContext(context.Background(), fmt.Sprintf(`
		SELECT topic || ' ' || key, n, '', at FROM %[1]s.effects
		UNION ALL SELECT '', (convert_from(payload, 'UTF8')::json->>'n')::int, state, 0 FROM %[1]s.parked_messages ORDER BY 4`, subscriber))
	r.must(err)
	defer rows.Close()
	for rows.Next() {
		var place, state string
		var n, at int
		r.must(rows.Scan(&place, &n, &state, &at))
		had[n] = true
		if state == "awaiting_version" { // the model does not know which version parks a message behind a dead letter
			state = "blocked"
		}
		if state != "" {
			got.parked[n] = state
		} else {
			got.effects[place] = append(got.effects[place], n)
		}
	}
	r.must(rows.Err())
	return got, had
}

package demo

import (
	"context"
	"database/sql"
	"fmt"
	"sort"

	"github.com/lib/pq"

	"millrace/platform/bus"
	"millrace/platform/bus/sqltransport"
)

// looker reads: a pool, a connection or a transaction.
type looker interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// tally is what became of a topic's messages for one subscriber. Every number
// is counted by itself; none is the rest of the others.
type tally struct {
	Subscriber, Topic string
	Messages          int64 // ever written: the sum of the partitions' last offsets
	Handled           int64 // inbox rows
	Skipped           int64 // passed, and of a type that it does not hear
	Pending           int64 // after its position
	Retrying          int64 // aside, with a time for the next attempt
	Held              int64 // aside, behind another one
	HeldByDead        int64 // of those, behind an open dead letter
	Dead              int64
	Discarded         int64
	Lost              int64 // passed, heard, and without any outcome
}

// residual is what the books do not explain: 0, or something is wrong.
func (t tally) residual() int64 {
	return t.Messages - t.Handled - t.Skipped - t.Pending - t.Retrying - t.Held - t.Dead - t.Discarded
}

// quiet tells whether nothing is left to do that somebody will do.
func (t tally) quiet() bool { return t.Pending == 0 && t.Retrying == 0 && t.Held == t.HeldByDead }

// hearing is one subscriber's part in one topic.
type hearing struct {
	subscriber, topic string // or a part of it: what one module sent
	table             string // where its messages are
	types             []string
}

// hearings lists who hears what, as the modules declare it.
func hearings(topo *bus.Topology) []hearing {
	var all []hearing
	for _, subscriber := range topo.Modules() {
		types := map[string][]string{}
		for _, s := range topo.SubscriptionsOf(subscriber) {
			topic := topo.TopicOf(s.Type)
			types[topic] = append(types[topic], s.Type)
		}
		for _, kept := range sqltransport.Everything(topo) {
			if len(types[kept.Topic]) > 0 {
				all = append(all, hearing{subscriber, kept.Stream, kept.Table, types[kept.Topic]})
			}
		}
	}
	sort.SliceStable(all, func(i, j int) bool {
		return all[i].subscriber < all[j].subscriber || all[i].subscriber == all[j].subscriber && all[i].topic < all[j].topic
	})
	return all
}

// tallySQL counts; %[1]s is where the topic's messages are and %[2]s the subscriber's schema.
const tallySQL = `
WITH message AS (
	SELECT m.id, m.type = ANY($3) AS heard, m."offset" <= coalesce(p.position, 0) AS passed,
		EXISTS (SELECT 1 FROM %[2]s.inbox i WHERE i.subscriber = $1 AND i.message_id = m.id) AS in_inbox,
		EXISTS (SELECT 1 FROM %[2]s.aside a WHERE a.subscriber = $1 AND a.message_id = m.id) AS is_aside
	FROM (SELECT * FROM %[1]s) m LEFT JOIN %[2]s.positions p ON p.subscriber = $1 AND p.topic = $2 AND p.partition = m.partition
), put_aside AS (
	SELECT a.state, EXISTS (SELECT 1 FROM %[2]s.aside d WHERE d.subscriber = a.subscriber AND d.topic = a.topic AND d.key = a.key
		AND d.state = 'dead' AND d."offset" < a."offset") AS behind_dead
	FROM %[2]s.aside a WHERE a.subscriber = $1 AND a.topic = $2
)
SELECT (SELECT coalesce(sum(last), 0) FROM (SELECT max("offset") AS last FROM %[1]s GROUP BY partition) l),
	(SELECT count(*) FROM %[2]s.inbox WHERE subscriber = $1 AND topic = $2),
	(SELECT count(*) FROM message WHERE passed AND NOT heard AND NOT is_aside),
	(SELECT count(*) FROM message WHERE NOT passed),
	(SELECT count(*) FROM put_aside WHERE state = 'retrying'),
	(SELECT count(*) FROM put_aside WHERE state = 'held'),
	(SELECT count(*) FROM put_aside WHERE state = 'held' AND behind_dead),
	(SELECT count(*) FROM put_aside WHERE state = 'dead'),
	(SELECT count(*) FROM put_aside WHERE state = 'discarded'),
	(SELECT count(*) FROM message WHERE passed AND heard AND NOT in_inbox AND NOT is_aside)`

// takeTally counts for every subscriber and topic. The caller gives a snapshot,
// or the numbers are of different moments.
func takeTally(ctx context.Context, db looker, topo *bus.Topology) ([]tally, error) {
	var all []tally
	for _, h := range hearings(topo) {
		t := tally{Subscriber: h.subscriber, Topic: h.topic}
		err := db.QueryRowContext(ctx, fmt.Sprintf(tallySQL, h.table, h.subscriber), h.subscriber, h.topic, pq.Array(h.types)).
			Scan(&t.Messages, &t.Handled, &t.Skipped, &t.Pending, &t.Retrying, &t.Held, &t.HeldByDead, &t.Dead, &t.Discarded, &t.Lost)
		if err != nil {
			return nil, fmt.Errorf("count for %s in %s: %w", h.subscriber, h.topic, err)
		}
		all = append(all, t)
	}
	return all, nil
}

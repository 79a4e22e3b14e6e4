package demo

import (
	"context"
	"database/sql"
	"fmt"
	"sort"

	"github.com/lib/pq"

	"millrace/platform/bus"
	"millrace/platform/bus/store"
)

// looker runs queries: a pool, a connection or a transaction.
type looker interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// tally counts the outcomes of a topic's messages for one subscriber. Each number has
// its own query; none is computed from the others.
type tally struct {
	Subscriber, Topic string
	Messages          int64 // published so far: the sum of the partitions' last offsets
	Handled           int64 // inbox rows
	Skipped           int64 // before the committed offset, of a type without a subscription
	Pending           int64 // after the committed offset
	Retrying          int64 // parked: retry_scheduled
	Held              int64 // parked: blocked or awaiting_version
	HeldByDead        int64 // those of Held that are behind a dead letter
	Dead              int64
	Discarded         int64
	Lost              int64 // before the committed offset, subscribed, and without any outcome
}

// residual is the number of messages that no other number explains. It must be 0.
func (t tally) residual() int64 {
	return t.Messages - t.Handled - t.Skipped - t.Pending - t.Retrying - t.Held - t.Dead - t.Discarded
}

// quiet reports whether no work is left that the program will do by itself.
func (t tally) quiet() bool { return t.Pending == 0 && t.Retrying == 0 && t.Held == t.HeldByDead }

// subscription is a subscriber and one topic that it handles.
type subscription struct {
	subscriber, topic string // the topic, or the part of it that one module sent
	table             string // the table or subquery with the messages
	types             []string
}

// subscriptions lists the subscribers and their topics, as the modules declare them.
func subscriptions(topo *bus.Topology) []subscription {
	var all []subscription
	for _, subscriber := range topo.Modules() {
		types := map[string][]string{}
		for _, s := range topo.SubscriptionsOf(subscriber) {
			topic := topo.TopicOf(s.Type)
			types[topic] = append(types[topic], s.Type)
		}
		for _, kept := range store.Everything(topo) {
			if len(types[kept.Topic]) > 0 {
				all = append(all, subscription{subscriber, kept.Stream, kept.Table, types[kept.Topic]})
			}
		}
	}
	sort.SliceStable(all, func(i, j int) bool {
		return all[i].subscriber < all[j].subscriber || all[i].subscriber == all[j].subscriber && all[i].topic < all[j].topic
	})
	return all
}

// tallySQL counts. %[1]s is the table with the topic's messages, %[2]s the subscriber's schema.
const tallySQL = `
WITH message AS (
	SELECT m.id, m.type = ANY($3) AS subscribed, m."offset" <= coalesce(p.committed_offset, 0) AS passed,
		EXISTS (SELECT 1 FROM %[2]s.inbox i WHERE i.subscriber = $1 AND i.message_id = m.id AND split_part(i.topic, '/', 1) = split_part($2, '/', 1)) AS in_inbox,
		EXISTS (SELECT 1 FROM %[2]s.parked_messages a WHERE a.subscriber = $1 AND a.message_id = m.id AND split_part(a.topic, '/', 1) = split_part($2, '/', 1)) AS is_parked
	FROM (SELECT * FROM %[1]s) m LEFT JOIN %[2]s.offsets p ON p.subscriber = $1 AND p.topic = $2 AND p.partition = m.partition
), parked AS (
	SELECT a.state, EXISTS (SELECT 1 FROM %[2]s.parked_messages d WHERE d.subscriber = a.subscriber AND d.topic = a.topic AND d.key = a.key
		AND d.state = 'dead' AND d."offset" < a."offset") AS behind_dead
	FROM %[2]s.parked_messages a WHERE a.subscriber = $1 AND a.topic = $2
)
SELECT (SELECT coalesce(sum(last), 0) FROM (SELECT max("offset") AS last FROM %[1]s GROUP BY partition) l),
	(SELECT count(*) FROM %[2]s.inbox WHERE subscriber = $1 AND topic = $2),
	(SELECT count(*) FROM message WHERE passed AND NOT subscribed AND NOT is_parked),
	(SELECT count(*) FROM message WHERE NOT passed),
	(SELECT count(*) FROM parked WHERE state = 'retry_scheduled'),
	(SELECT count(*) FROM parked WHERE state IN ('blocked', 'awaiting_version')),
	(SELECT count(*) FROM parked WHERE state IN ('blocked', 'awaiting_version') AND behind_dead),
	(SELECT count(*) FROM parked WHERE state = 'dead'),
	(SELECT count(*) FROM parked WHERE state = 'discarded'),
	(SELECT count(*) FROM message WHERE passed AND subscribed AND NOT in_inbox AND NOT is_parked)`

// takeTally counts for every subscriber and topic. db must be a snapshot: otherwise the
// numbers are from different moments.
func takeTally(ctx context.Context, db looker, topo *bus.Topology) ([]tally, error) {
	var all []tally
	for _, h := range subscriptions(topo) {
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

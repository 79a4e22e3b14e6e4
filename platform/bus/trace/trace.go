// Package trace finds the messages of a key, such as an order or a consultation,
// in all modules: what was published or sent, by which module, which subscribers
// handled it, when, and where in the source they subscribe.
//
// It reads the bus's tables (event logs, command queues, inboxes, parked messages)
// in one snapshot of each database, and changes nothing. It finds the messages of
// the key and all messages with the same correlation IDs, so that a consultation
// shows the payment of its deposit. Commands are found until they are pruned, some
// minutes after they were handled. It reads whole logs: it is for an operator's
// question, not for a page.
//
// Modules may have a database each. Then all databases are given, and the result
// joins them by message and correlation IDs. The snapshots are made one after the
// other, so a message may be shown as handled while its consequence is still
// missing. Times come from the clocks of the processes that published and handled;
// they determine only the order of the output. A module whose database is not
// given is missing.
package trace

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"millrace/platform/bus"
	"millrace/platform/bus/envelope"
	"millrace/platform/bus/store"
	"millrace/platform/errs"
)

// Message is a message and its outcomes.
type Message struct {
	ID        uuid.UUID
	Type      string
	Key       string
	Topic     string
	Partition int
	Sequence  int64
	By        string    // the publisher or sender, or "" if the metadata has none
	Cause     string    // the id of the message that caused it, or ""
	At        time.Time // when it was published or sent; zero if the metadata has no valid time
	Hops      []Hop     // in the order of their times
}

// identity identifies a message. Each module gives its own messages their IDs, so
// the ID alone does not.
type identity struct {
	id    uuid.UUID
	topic string
}

func (s Message) identity() identity { return identity{s.ID, s.Topic} }

// Verb is what the module did with the message: "published" an event, "sent" a
// command.
func (s Message) Verb() string {
	owner, _, _ := strings.Cut(s.Type, ".")
	if strings.HasPrefix(s.Topic, bus.CommandsOf(owner)) {
		return "sent"
	}
	return "published"
}

// Hop is one subscriber's outcome. A subscriber without one has not handled the
// message yet, or does not subscribe to its type.
type Hop struct {
	Subscriber string
	Outcome    string    // "handled", or the state of a parked message
	Attempts   int       // of a parked message: how often its handler failed
	At         time.Time // when its transaction recorded that
	Source     string    // where it subscribed, as "modules/delivery/module.go:41"; "" if this version does not
	Error      string    // why it is parked, or ""
}

// Conversation returns the messages that these databases contain, oldest first and
// those without a time last. An unknown key has none.
func Conversation(ctx context.Context, topo *bus.Topology, key string, dbs ...*sql.DB) (_ []Message, err error) {
	defer errs.Wrap(&err, "trace %s", key)
	parts := make([]*part, 0, len(dbs))
	for _, db := range dbs {
		p, err := begin(ctx, db, topo)
		if err != nil {
			return nil, err
		}
		defer func() { _ = p.tx.Rollback() }() // it only read
		parts = append(parts, p)
	}
	conversations := map[string]bool{}
	for _, p := range parts {
		if err := p.conversations(ctx, key, conversations); err != nil {
			return nil, err
		}
	}
	var all []Message
	at := map[identity]int{}
	for _, p := range parts {
		if err := p.messages(ctx, key, conversations, func(s Message) {
			if _, known := at[s.identity()]; !known {
				at[s.identity()] = 0
				all = append(all, s)
			}
		}); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(all, func(a, b Message) int {
		return cmp.Or(unknownLast(a.At, b.At), a.At.Compare(b.At), cmp.Compare(a.Sequence, b.Sequence))
	})
	for i, s := range all {
		at[s.identity()] = i
	}
	for _, p := range parts {
		if err := p.outcomes(ctx, topo, all, at); err != nil {
			return nil, err
		}
	}
	for _, s := range all {
		slices.SortStableFunc(s.Hops, func(a, b Hop) int {
			return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Subscriber, b.Subscriber))
		})
	}
	return all, nil
}

// unknownLast compares times by whether they are known.
func unknownLast(a, b time.Time) int {
	switch {
	case a.IsZero() && !b.IsZero():
		return 1
	case !a.IsZero() && b.IsZero():
		return -1
	}
	return 0
}

// part is a snapshot of a database, and the modules whose tables it has.
type part struct {
	tx         *sql.Tx
	here       []string
	everything string // in SQL, all messages there
}

func begin(ctx context.Context, db *sql.DB, topo *bus.Topology) (_ *part, err error) {
	p := &part{}
	if p.tx, err = db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}); err != nil {
		return nil, err
	}
	if p.here, err = store.Present(ctx, p.tx, topo); err != nil {
		_ = p.tx.Rollback() // it only read
		return nil, err
	}
	var selects []string
	for _, kept := range store.Everything(topo) {
		if slices.Contains(p.here, kept.Schema) {
			selects = append(selects, fmt.Sprintf(`SELECT '%s' AS topic, partition, "offset", id, type, key, metadata::text AS metadata FROM %s`, kept.Topic, kept.Table))
		}
	}
	p.everything = "(" + strings.Join(selects, " UNION ALL ") + ") AS everything"
	return p, nil
}

// conversations adds the correlation IDs of the key's messages.
func (p *part) conversations(ctx context.Context, key string, all map[string]bool) error {
	return p.each(ctx, func(scan func(...any) error) error {
		var metadata []byte
		err := scan(&metadata)
		if conversation := metadataOf(metadata)[envelope.Correlation]; conversation != "" {
			all[conversation] = true
		}
		return err
	}, `SELECT metadata FROM `+p.everything+` WHERE key = $1`, key)
}

// messages adds the messages of the key and of the correlation IDs. The query does
// not parse the metadata: one invalid value, such as a malformed time, would fail
// the query and hide all other messages.
func (p *part) messages(ctx context.Context, key string, conversations map[string]bool, add func(Message)) error {
	var quoted []string // as JSON in the metadata
	for conversation := range conversations {
		text, err := json.Marshal(conversation)
		if err != nil {
			return err
		}
		quoted = append(quoted, string(text))
	}
	return p.each(ctx, func(scan func(...any) error) error {
		var s Message
		var text []byte
		if err := scan(&s.Topic, &s.Partition, &s.Sequence, &s.ID, &s.Type, &s.Key, &text); err != nil {
			return err
		}
		metadata := metadataOf(text)
		if s.Key != key && !conversations[metadata[envelope.Correlation]] {
			return nil // the correlation ID is in another field
		}
		s.By, s.Cause = metadata[envelope.Source], metadata[envelope.Causation]
		if at, err := time.Parse(time.RFC3339Nano, metadata[envelope.Time]); err == nil {
			s.At = at
		}
		add(s)
		return nil
	}, `SELECT topic, partition, "offset", id, type, key, metadata FROM `+p.everything+`
		WHERE key = $1 OR EXISTS (SELECT FROM unnest($2::text[]) AS c WHERE strpos(metadata, c) > 0)`, key, pq.Array(quoted))
}

// metadataOf returns the values that are strings; none if text is not an object.
func metadataOf(text []byte) map[string]string {
	var metadata map[string]string
	_ = json.Unmarshal(text, &metadata) // invalid metadata is empty
	return metadata
}

func (p *part) outcomes(ctx context.Context, topo *bus.Topology, all []Message, at map[identity]int) error {
	sources := map[string]string{}
	var parts []string
	for _, module := range topo.Modules() {
		for _, s := range topo.SubscriptionsOf(module) {
			sources[bus.HandlerName(module, s.Type)] = s.Source
		}
		if !slices.Contains(p.here, module) {
			continue
		}
		parts = append(parts, fmt.Sprintf(`SELECT message_id, topic, subscriber, 'handled' AS outcome, handled_at AS at, 0 AS attempts, '' AS error FROM %[1]s.inbox
			UNION ALL SELECT message_id, topic, subscriber, state, coalesce(failed_at, created_at), attempts, error FROM %[1]s.parked_messages`, module))
	}
	ids := make([]string, 0, len(all))
	for _, s := range all {
		ids = append(ids, s.ID.String())
	}
	return p.each(ctx, func(scan func(...any) error) error {
		var m identity
		var h Hop
		if err := scan(&m.id, &m.topic, &h.Subscriber, &h.Outcome, &h.At, &h.Attempts, &h.Error); err != nil {
			return err
		}
		place, known := at[m]
		if !known {
			return nil // another module's message with the same id
		}
		s := &all[place]
		h.Source = sources[bus.HandlerName(h.Subscriber, s.Type)]
		s.Hops = append(s.Hops, h)
		return nil
	}, `SELECT message_id, split_part(topic, '/', 1), subscriber, outcome, at, attempts, error FROM (`+strings.Join(parts, " UNION ALL ")+`) o WHERE message_id = ANY($1::uuid[])`, pq.Array(ids))
}

// each reads all rows of a query.
func (p *part) each(ctx context.Context, read func(scan func(...any) error) error, query string, args ...any) error {
	rows, err := p.tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := read(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Package trace tells the conversation of a key, an order or a consultation,
// across the modules: what was said, by whom, who handled it, when, and where in
// the code.
//
// It reads what the bus keeps anyway (logs, queues, inboxes, what is aside) in
// one snapshot, and changes nothing. It finds the messages of the key and those
// of the conversations that these belong to, so that a consultation shows the
// payment of its deposit. Commands are found until they are swept, some minutes
// after they were handled. Where modules have databases of their own, it tells
// what the modules of this one said and did. It reads whole logs: it is for an
// operator's question, not for a page.
package trace

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"millrace/platform/bus"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/errs"
)

// Said is a message of the conversation, and what became of it.
type Said struct {
	ID        uuid.UUID
	Type      string
	Key       string
	Topic     string
	Partition int
	Sequence  int64
	By        string    // the module that said it
	Cause     string    // the id of the message that caused it, or ""
	At        time.Time // when it was said
	Hops      []Hop     // in the order of their times
}

// Hop is one subscriber's outcome. One that is missing is still pending, or
// does not hear the type.
type Hop struct {
	Subscriber string
	Outcome    string    // "handled", "retrying", "held", "dead" or "discarded"
	At         time.Time // when its transaction recorded that
	Source     string    // the handler, as "modules/delivery/handlers.go:12"; "" if this version has none
	Error      string    // why it is aside, or ""
}

// Conversation returns what was said, oldest first. A key that nobody knows has
// none.
func Conversation(ctx context.Context, db *sql.DB, topo *bus.Topology, key string) (_ []Said, err error) {
	defer errs.Wrap(&err, "trace %s", key)
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }() // it only read
	here, err := sqltransport.Present(ctx, tx, topo)
	if err != nil {
		return nil, err
	}
	all, at, err := messages(ctx, tx, topo, here, key)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	if err := outcomes(ctx, tx, topo, here, all, at); err != nil {
		return nil, err
	}
	return all, nil
}

func messages(ctx context.Context, tx *sql.Tx, topo *bus.Topology, here []string, key string) ([]Said, map[uuid.UUID]int, error) {
	var parts []string
	for _, kept := range sqltransport.Everything(topo) {
		if !slices.Contains(here, kept.Schema) {
			continue
		}
		parts = append(parts, fmt.Sprintf(`SELECT '%s' AS topic, partition, "offset", id, type, key,
			metadata->>'ce_source' AS source, metadata->>'correlationid' AS conversation, metadata->>'causationid' AS cause, metadata->>'ce_time' AS said
			FROM %s`, kept.Topic, kept.Table))
	}
	rows, err := tx.QueryContext(ctx, `WITH everything AS (`+strings.Join(parts, " UNION ALL ")+`)
		SELECT topic, partition, "offset", id, type, key, source, coalesce(cause, ''), said::timestamptz FROM everything
		WHERE key = $1 OR conversation IN (SELECT conversation FROM everything WHERE key = $1)
		ORDER BY said::timestamptz, "offset"`, key)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	var all []Said
	at := map[uuid.UUID]int{}
	for rows.Next() {
		var s Said
		if err := rows.Scan(&s.Topic, &s.Partition, &s.Sequence, &s.ID, &s.Type, &s.Key, &s.By, &s.Cause, &s.At); err != nil {
			return nil, nil, err
		}
		at[s.ID] = len(all)
		all = append(all, s)
	}
	return all, at, rows.Err()
}

func outcomes(ctx context.Context, tx *sql.Tx, topo *bus.Topology, here []string, all []Said, at map[uuid.UUID]int) error {
	sources := map[string]func() string{}
	var parts []string
	for _, module := range topo.Modules() {
		for _, s := range topo.SubscriptionsOf(module) {
			sources[bus.HandlerName(module, s.Type)] = s.Source
		}
		if !slices.Contains(here, module) {
			continue
		}
		parts = append(parts, fmt.Sprintf(`SELECT message_id, subscriber, 'handled' AS outcome, handled_at AS at, '' AS error FROM %[1]s.inbox
			UNION ALL SELECT message_id, subscriber, state, coalesce(failed_at, created_at), error FROM %[1]s.aside`, module))
	}
	ids := make([]string, 0, len(all))
	for _, s := range all {
		ids = append(ids, s.ID.String())
	}
	rows, err := tx.QueryContext(ctx, `SELECT message_id, subscriber, outcome, at, error FROM (`+strings.Join(parts, " UNION ALL ")+`) o
		WHERE message_id = ANY($1::uuid[]) ORDER BY at, subscriber`, "{"+strings.Join(ids, ",")+"}")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id uuid.UUID
		var h Hop
		if err := rows.Scan(&id, &h.Subscriber, &h.Outcome, &h.At, &h.Error); err != nil {
			return err
		}
		s := &all[at[id]]
		if source := sources[bus.HandlerName(h.Subscriber, s.Type)]; source != nil {
			h.Source = source()
		}
		s.Hops = append(s.Hops, h)
	}
	return rows.Err()
}

package bustest

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/envelope"
)

// When delivers messages to the module, in order, as their owners publish or send
// them. It returns when each is handled or a dead letter.
func (h *Harness) When(messages ...any) {
	h.t.Helper()
	h.last = nil
	for _, m := range messages {
		var owner string
		switch m := m.(type) {
		case bus.Event:
			owner, _, _ = strings.Cut(m.EventName(), ".")
		case bus.Command:
			owner = outside
		default:
			require.FailNow(h.t, "When takes events and commands", "%T is neither", m)
		}
		db := h.transport.DB(owner)
		require.NotNil(h.t, db, "the module handles no message of %s: %T", owner, m)
		topic := h.topo.TopicOf(nameOf(m))
		require.NotEmpty(h.t, topic, "%s is not declared; a module that subscribes to every event names them in Start", nameOf(m))
		before := h.ids(topic)
		require.NoError(h.t, db.InTx(h.ctx, func(tx *bus.Tx) error {
			if event, ok := m.(bus.Event); ok {
				return tx.Publish(event)
			}
			return tx.Send(m.(bus.Command))
		}))
		for id := range h.ids(topic) {
			if !before[id] {
				h.last = append(h.last, id)
				h.topics[id] = topic
			}
		}
	}
	h.settle()
}

// ThenAgainNothing delivers the messages of the last When once more, with the
// same IDs, and fails if the module publishes or sends anything, or handles any of
// them again.
func (h *Harness) ThenAgainNothing() {
	h.t.Helper()
	require.NotEmpty(h.t, h.last, "ThenAgainNothing needs a When before it")
	handled := h.one(`SELECT count(*) FROM inbox`)
	for _, id := range h.last {
		module, kind, _ := strings.Cut(h.topics[id], ".")
		name := map[string]string{"events": "log", "commands": "queue"}[kind]
		_, err := h.exec(fmt.Sprintf(`SELECT %[1]s.append_%[2]s(ARRAY[partition], ARRAY[id], ARRAY[type], ARRAY[key], ARRAY[payload], ARRAY[metadata::text])
			FROM (SELECT * FROM %[1]s.%[2]s WHERE id = $1 ORDER BY "offset" LIMIT 1) m`, module, name), id)
		require.NoError(h.t, err)
	}
	h.ThenNothing()
	require.Equal(h.t, handled, h.one(`SELECT count(*) FROM inbox`), "a repetition was handled")
}

// Then fails unless the module has published and sent exactly these messages, in
// this order, since the last Then. They are compared as JSON; what is zero in the expected
// message is not compared.
func (h *Harness) Then(messages ...any) {
	h.t.Helper()
	var got []message
	h.eventually(func() bool {
		got = h.unseen()
		return len(got) >= len(messages)
	}, func() string {
		return fmt.Sprintf("the module gave out %d of %d messages: %v", len(got), len(messages), got)
	})
	h.settle()
	got = h.unseen()
	var names, want []string
	for _, s := range got {
		names = append(names, s.name)
	}
	for _, m := range messages {
		want = append(want, nameOf(m))
	}
	require.Empty(h.t, cmp.Diff(want, names), "the module's messages (−want +got): %v", got)
	for i, m := range messages {
		body, err := json.Marshal(m)
		require.NoError(h.t, err)
		var expected, actual any
		require.NoError(h.t, json.Unmarshal(body, &expected))
		require.NoError(h.t, json.Unmarshal(got[i].payload, &actual))
		require.Empty(h.t, cmp.Diff(expected, pick(actual, expected)), "%s (−want +got)", got[i].name)
		h.seen[got[i].id] = true
	}
}

// ThenNothing fails if the module has published or sent anything since the last
// Then.
func (h *Harness) ThenNothing() {
	h.t.Helper()
	h.settle()
	require.Empty(h.t, h.unseen(), "the module should have published and sent nothing")
}

// ThenRow fails unless the query, on the module's schema, comes to give one row
// with these columns, compared as text; NULL is "<nil>".
func (h *Harness) ThenRow(query string, want ...any) {
	h.t.Helper()
	wanted := make([]string, len(want))
	for i, w := range want {
		wanted[i] = fmt.Sprint(w)
	}
	var got []string
	h.eventually(func() bool {
		got = h.row(query, len(want))
		return slices.Equal(wanted, got)
	}, func() string { return fmt.Sprintf("%s\nwant %q\ngot  %q", query, wanted, got) })
}

// DeadLetters lists what the module failed for good, as "type key: error".
func (h *Harness) DeadLetters() []string {
	h.t.Helper()
	h.settle()
	rows, err := h.db.QueryContext(h.ctx, `SELECT type || ' ' || key || ': ' || error FROM parked_messages WHERE state = 'dead' ORDER BY id`)
	require.NoError(h.t, err)
	defer rows.Close()
	var all []string
	for rows.Next() {
		var line string
		require.NoError(h.t, rows.Scan(&line))
		all = append(all, line)
	}
	require.NoError(h.t, rows.Err())
	return all
}

// settle waits until the module has handled or parked all its messages, and none
// waits for a retry.
func (h *Harness) settle() {
	h.t.Helper()
	var behind string
	h.eventually(func() bool {
		behind = ""
		for _, s := range h.topo.SubscriptionsOf(h.module) {
			module, kind, _ := strings.Cut(h.topo.TopicOf(s.Type), ".")
			name := map[string]string{"events": "log", "commands": "queue"}[kind]
			query := fmt.Sprintf(`SELECT count(*) FROM (SELECT partition, max("offset") AS newest FROM %s.%s GROUP BY partition) l
				WHERE newest > coalesce((SELECT committed_offset FROM offsets p WHERE p.topic = '%s.%s' AND p.partition = l.partition AND p.subscriber = '%s'), 0)`,
				module, name, module, kind, h.module)
			if n := h.one(query); n != "0" {
				behind += fmt.Sprintf("%s partitions of %s.%s; ", n, module, kind)
			}
		}
		if n := h.one(`SELECT count(*) FROM parked_messages WHERE state = 'retry_scheduled'`); n != "0" {
			behind += n + " messages wait for a retry; "
		}
		return behind == ""
	}, func() string { return "the module is behind: " + behind })
}

// message is one that the module published or sent.
type message struct {
	id      uuid.UUID
	name    string
	payload json.RawMessage
	at      time.Time
}

func (s message) String() string { return s.name + " " + string(s.payload) }

// unseen returns the module's messages since the last Then, from its event log and
// the receivers' queues.
func (h *Harness) unseen() []message {
	h.t.Helper()
	query := `SELECT id, type, payload, metadata, true FROM log`
	for _, module := range h.topo.Modules() {
		query += fmt.Sprintf(` UNION ALL SELECT id, type, payload, metadata, false FROM %s.queue`, module)
	}
	rows, err := h.db.QueryContext(h.ctx, query)
	require.NoError(h.t, err)
	defer rows.Close()
	var all []message
	for rows.Next() {
		var s message
		var text []byte
		var published bool
		require.NoError(h.t, rows.Scan(&s.id, &s.name, &s.payload, &text, &published))
		var metadata map[string]string // PostgreSQL cannot take a value out of every JSON that it stores
		require.NoError(h.t, json.Unmarshal(text, &metadata))
		if h.seen[s.id] || !published && metadata[envelope.Source] != h.module {
			continue
		}
		s.at, err = time.Parse(time.RFC3339Nano, metadata[envelope.Time])
		require.NoError(h.t, err)
		all = append(all, s)
	}
	require.NoError(h.t, rows.Err())
	slices.SortStableFunc(all, func(a, b message) int { return a.at.Compare(b.at) })
	return all
}

func (h *Harness) ids(topic string) map[uuid.UUID]bool {
	module, kind, _ := strings.Cut(topic, ".")
	name := map[string]string{"events": "log", "commands": "queue"}[kind]
	rows, err := h.db.QueryContext(h.ctx, fmt.Sprintf(`SELECT id FROM %s.%s`, module, name))
	require.NoError(h.t, err)
	defer rows.Close()
	all := map[uuid.UUID]bool{}
	for rows.Next() {
		var id uuid.UUID
		require.NoError(h.t, rows.Scan(&id))
		all[id] = true
	}
	require.NoError(h.t, rows.Err())
	return all
}

func (h *Harness) one(query string) string { return h.row(query, 1)[0] }

// row reads one row as text.
func (h *Harness) row(query string, columns int) []string {
	h.t.Helper()
	values := make([]any, columns)
	into := make([]any, columns)
	for i := range values {
		into[i] = &values[i]
	}
	err := h.db.QueryRowContext(h.ctx, query).Scan(into...)
	if err == sql.ErrNoRows {
		return make([]string, columns)
	}
	require.NoError(h.t, err, query)
	text := make([]string, columns)
	for i, v := range values {
		if b, ok := v.([]byte); ok {
			v = string(b)
		}
		text[i] = fmt.Sprint(v)
	}
	return text
}

func (h *Harness) exec(query string, args ...any) (n int64, err error) {
	err = h.db.InTx(h.ctx, func(tx *bus.Tx) error {
		result, err := tx.ExecContext(h.ctx, query, args...)
		if err != nil {
			return err
		}
		n, err = result.RowsAffected()
		return err
	})
	return n, err
}

// eventually looks until it is so, or the test's patience ends.
func (h *Harness) eventually(so func() bool, why func() string) {
	h.t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		if time.Now().After(deadline) {
			require.FailNow(h.t, why())
		}
		<-tick.C
	}
}

func nameOf(m any) string {
	switch m := m.(type) {
	case bus.Event:
		return m.EventName()
	case bus.Command:
		return m.CommandName()
	}
	return fmt.Sprintf("%T", m)
}

// zeroTime is the encoding of a zero time.
const zeroTime = "0001-01-01T00:00:00Z"

// pick reduces actual to the fields that expected sets; a zero value in expected
// matches anything, and is copied from it.
func pick(actual, expected any) any {
	want, ok := expected.(map[string]any)
	got, ok2 := actual.(map[string]any)
	if !ok || !ok2 {
		return actual
	}
	picked := map[string]any{}
	for name, value := range want {
		if value == nil || value == zeroTime || reflect.ValueOf(value).IsZero() {
			picked[name] = value
			continue
		}
		if inner, ok := got[name]; ok {
			picked[name] = pick(inner, value)
		}
	}
	return picked
}

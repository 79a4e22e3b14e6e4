package sqltransport_test

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/bus/store"
	"millrace/platform/postgres"
)

// received is a store that gets rows as a bridge delivers them, from the shop.
type received struct {
	forgery
	r *rig
}

func receives(t *testing.T, cfg sqltransport.Config) *received {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	r := bridged(t, &badBridge{}, cfg)
	db, err := postgres.Open(t.Context(), postgres.Config{URL: r.url, Schema: "store", MaxConns: 2})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return &received{forgery{t: t, db: db}, r}
}

func (r *received) gets(sequence int64, id string, since int64) {
	r.t.Helper()
	n := id[len(id)-1:]
	require.NoError(r.t, r.r.transport.Inbound().Receive(r.t.Context(), "store", []store.Row{{
		Topic: "shop.events", Source: "shop", Partition: store.PartitionOf("order"), Sequence: sequence, ID: uuid.MustParse(id), Since: since,
		Type: "shop.paid", Key: "order", Payload: []byte(`{"order":"order","n":` + n + `}`), Metadata: map[string]string{"ce_source": "shop"},
	}}))
}

func idOf(n int) string { return "00000000-0000-7000-8000-00000000000" + strconv.Itoa(n) }

const (
	handledOf = `SELECT coalesce(string_agg(n::text, ' ' ORDER BY at), '') FROM effects`
	parkedOf  = `SELECT coalesce(string_agg(type || ' ' || state || ' ' || coalesce(metadata->>'refusedtype', ''), ', ' ORDER BY id), '') FROM parked_messages`
)

// A producer that may write to a topic can give a record the number of a message that has
// not arrived. The true message must not vanish.
func TestReceive_MessageWhoseNumberAnotherHasIsADeadLetterThatBlocksNothing(t *testing.T) {
	t.Parallel()
	for name, together := range map[string]bool{"Alone": false, "InOneTransactionWithForeignRecords": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := receives(t, sqltransport.Config{})
			r.gets(1, idOf(1), 1)
			r.becomes("1", handledOf)
			for range 2 { // it arrives again
				r.gets(1, idOf(2), 1)
				if together {
					require.NoError(t, r.r.transport.Inbound().Receive(t.Context(), "store", []store.Row{
						{Topic: "shop.events", Source: "shop", Partition: store.PartitionOf("order"), Sequence: 1, ID: uuid.MustParse(idOf(2)), Type: "shop.paid", Key: "order", Payload: []byte(`{}`)},
						{Topic: "shop.events", Source: "else", ID: uuid.MustParse(idOf(5)), Type: "shop.paid", Key: "other", Payload: []byte(`{"order":"other","n":5}`)},
					}))
				}
			}
			r.gets(1, idOf(1), 1) // and so does the one that has the number
			r.becomes("millrace.refused dead shop.paid", parkedOf)
			r.becomes(fmt.Sprintf("its number, 1 of shop.events, partition %d, was used by another message, %s: find it in its sender's log, mend what it should have done, and discard it",
				store.PartitionOf("order"), idOf(1)), `SELECT error FROM parked_messages`)
			r.gets(2, idOf(3), 1)
			want := "1 3"
			if together {
				want = "1 5 3"
			}
			r.becomes(want, handledOf)
			r.becomes("millrace.refused dead shop.paid", parkedOf)
		})
	}
}

func TestReceive_MessageThatArrivesAfterItCountedAsLostIsADeadLetter(t *testing.T) {
	t.Parallel()
	r := receives(t, sqltransport.Config{LostAfter: 50 * time.Millisecond})
	r.gets(1, idOf(1), 1)
	r.gets(3, idOf(3), 1)
	r.becomes("1 3", handledOf)
	r.becomes("millrace.lost dead ", parkedOf)
	r.gets(2, idOf(2), 1)
	r.gets(2, idOf(2), 1)
	r.becomes("millrace.lost dead , millrace.refused dead shop.paid", parkedOf)
	r.gets(1, idOf(1), 1)
	r.gets(4, idOf(4), 1)
	r.becomes("1 3 4", handledOf)
	r.becomes("millrace.lost dead , millrace.refused dead shop.paid", parkedOf)
}

func TestReceive_RefusesNumberFarAboveTheHighest(t *testing.T) {
	t.Parallel()
	r := receives(t, sqltransport.Config{LostAfter: 50 * time.Millisecond})
	r.gets(1, idOf(1), 1)
	r.gets(1<<60, idOf(2), 1)
	r.becomes("millrace.refused dead shop.paid", parkedOf)
	r.becomes(fmt.Sprintf("ce_sequence is %d, more than 1000000 above 1, the highest of shop.events, partition %d: find out who sent it, restrict who may write to the topic, and discard it",
		1<<60, store.PartitionOf("order")), `SELECT error FROM parked_messages`)
	r.gets(2, idOf(3), 1)
	r.becomes("1 3", handledOf)
	// As many of the bridge's records are gone as numbers are missing.
	r.gets(5_000_002, idOf(4), 6_000_000)
	r.gets(5_000_003, idOf(5), 1)
	r.becomes("1 3 4 5", handledOf)
	r.becomes("millrace.refused dead shop.paid, millrace.lost dead ", parkedOf)
	r.becomes("true", `SELECT (count(*) < 10)::text FROM inbound`)
}

// What was sent long ago is gone from the bridge: a new subscriber's first number is high.
func TestReceive_AcceptsAnyFirstNumber(t *testing.T) {
	t.Parallel()
	r := receives(t, sqltransport.Config{LostAfter: 50 * time.Millisecond})
	r.gets(7_000_000, idOf(1), 1)
	r.gets(7_000_001, idOf(2), 1)
	r.becomes("1 2", handledOf)
	r.becomes("millrace.lost dead ", parkedOf)
	r.becomes("true", `SELECT (count(*) < 10)::text FROM inbound`)
}

// A broker takes larger records than a queue does. One of them made the consumer repeat its
// batch without end, and nothing arrived any more.
func TestReceive_RecordThatIsTooLargeIsADeadLetterThatBlocksNothing(t *testing.T) {
	t.Parallel()
	large, wide := []byte(strings.Repeat("x", bus.MaxPayload+1)), map[string]string{"tracestate": strings.Repeat("\x01한", 5000), "ce_source": "else"}
	for name, row := range map[string]store.Row{
		"Payload":         {Type: "shop.paid", Key: "other", Payload: large},
		"Headers":         {Type: "shop.paid", Key: "other", Payload: []byte(`{}`), Metadata: wide},
		"Unreadable":      {Type: store.TypeUnreadable, Key: "other", Payload: large, Metadata: wide},
		"NumberIsTaken":   {Type: "shop.paid", Key: "order", Payload: large, Metadata: wide, Source: "shop", Sequence: 1, Partition: store.PartitionOf("order")},
		"NumberIsTooHigh": {Type: "shop.paid", Key: "order", Payload: large, Metadata: wide, Source: "shop", Sequence: 1 << 60, Partition: store.PartitionOf("order")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := receives(t, sqltransport.Config{})
			r.gets(1, idOf(1), 1)
			row.Topic, row.ID = "shop.events", uuid.MustParse(idOf(2))
			if row.Source == "" {
				row.Source = "else"
			}
			require.NoError(t, r.r.transport.Inbound().Receive(t.Context(), "store", []store.Row{row}))
			r.gets(2, idOf(3), 1)
			r.becomes("1 3", handledOf)
			r.becomes("millrace.refused dead", `SELECT coalesce(string_agg(type || ' ' || state, ', '), '') FROM parked_messages`)
			r.becomes("true", `SELECT (max(octet_length(payload)) <= 262144 AND max(octet_length(metadata::text)) <= 16384)::text FROM parked_messages`)
		})
	}
}

// The checkpoint moves with the dead letter of a message whose number another one has: if
// the process dies between the two, the record is read again.
func TestReceive_CheckpointMovesWithTheDeadLetter(t *testing.T) {
	t.Parallel()
	r := receives(t, sqltransport.Config{})
	r.gets(1, idOf(1), 1)
	r.becomes("1", handledOf)
	mark := store.Checkpoint{Topic: "shop.events", Partition: 3, TopicID: "A", From: 7, To: 7}
	require.NoError(t, r.r.transport.Inbound().BeginAt(t.Context(), "store", []store.Checkpoint{mark}))
	_, err := r.db.ExecContext(t.Context(), `ALTER TABLE queue ADD CONSTRAINT refuses CHECK (type <> 'millrace.refused')`)
	require.NoError(t, err)
	row := store.Row{Topic: "shop.events", Source: "shop", Partition: store.PartitionOf("order"), Sequence: 1, ID: uuid.MustParse(idOf(2)), Type: "shop.paid", Key: "order", Payload: []byte(`{}`)}
	mark.To = 8
	require.ErrorContains(t, r.r.transport.Inbound().Receive(t.Context(), "store", []store.Row{row}, mark), "refuses")
	r.becomes("7", `SELECT "offset"::text FROM checkpoints`)
	_, err = r.db.ExecContext(t.Context(), `ALTER TABLE queue DROP CONSTRAINT refuses`)
	require.NoError(t, err)
	require.NoError(t, r.r.transport.Inbound().Receive(t.Context(), "store", []store.Row{row}, mark))
	r.becomes("8", `SELECT "offset"::text FROM checkpoints`)
	r.becomes("millrace.refused dead shop.paid", parkedOf)
}

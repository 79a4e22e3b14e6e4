package trace_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/admin"
	"millrace/platform/bus/trace"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

type shop struct{}

func (shop) Name() string                      { return "shop" }
func (shop) Publishes() []bus.Event            { return nil }
func (shop) Sends() []bus.Command              { return nil }
func (shop) Subscriptions() []bus.Subscription { return nil }

// A role that may write rows of a log decides what their metadata holds. No such
// row may keep an operator from the other messages.
func TestConversation_ShowsMessagesWhoseMetadataCannotBeRead(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	topo, err := bus.NewTopology(shop{})
	require.NoError(t, err)
	require.NoError(t, admin.Migrate(t.Context(), url, topo))
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 2})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	const good = `{"ce_source":"shop","ce_time":"2026-11-29T10:00:00Z","correlationid":"talk-1"}`
	for i, row := range []struct{ key, metadata string }{
		{"goods-1", `{"ce_source":"shop","ce_time":"yesterday","correlationid":"talk-1"}`},
		{"goods-1", good},
		{"goods-1", `{"ce_source":"\u0000","ce_time":"\ud800","correlationid":"\u0000"}`},
		{"goods-1", `{"ce_source":7,"ce_time":"294277-01-01T00:00:00Z","correlationid":["talk-1"]}`},
		{"goods-1", `[1]`},
		{"deposit-1", `{"correlationid" : "talk-1"}`},
		{"deposit-2", `{"causationid":"talk-1"}`}, // not of the conversation
		{"deposit-3", `{"correlationid":"\ud800\u0000"}`},
	} {
		_, err := db.ExecContext(t.Context(), `
			INSERT INTO shop.log (partition, "offset", id, type, key, payload, metadata) VALUES (0, $1, gen_random_uuid(), 'shop.paid', $2, '{}', $3)`, i+1, row.key, row.metadata)
		require.NoError(t, err)
	}
	_, err = db.ExecContext(t.Context(), `
		INSERT INTO shop.inbox (message_id, subscriber, topic, partition, "offset", handled_at) SELECT id, 'shop', 'shop.events', 0, "offset", 'infinity' FROM shop.log WHERE "offset" = 2`)
	require.NoError(t, err)

	found, err := trace.Conversation(t.Context(), topo, "goods-1", db)
	require.NoError(t, err)
	var sequences []int64
	for _, s := range found {
		sequences = append(sequences, s.Sequence)
		require.Equal(t, s.Sequence != 2, s.At.IsZero(), "%+v", s)
	}
	require.Equal(t, []int64{2, 1, 3, 4, 5, 6}, sequences, "without a time last")
	require.Equal(t, "shop", found[0].By)
	require.Len(t, found[0].Hops, 1)
	require.Equal(t, 9999, found[0].Hops[0].At.Year())
}

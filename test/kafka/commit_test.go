//go:build kafka || slow || cloudevents

package kafka

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	"millrace/platform/bus/kafkabridge"
)

// lostOrder is the key of messages in transactions that do not commit.
const lostOrder = "order-lost"

// onlyCommitted publishes in transactions that end in every way but a commit, during
// a load that commits. Then it reads both topics and requires that they have no
// message of these transactions.
func onlyCommitted(t *testing.T, cfg kafkabridge.Config, trouble func()) {
	t.Helper()
	cfg.Sweep = time.Hour // so that commands are not deleted from the topic
	o := open(t, cfg)
	_, err := o.db.ExecContext(t.Context(), `
		CREATE TABLE shop.rules (n int UNIQUE DEFERRABLE INITIALLY DEFERRED);
		INSERT INTO shop.rules VALUES (1);
		CREATE FUNCTION shop.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'the last row is one too many'; END $$`)
	require.NoError(t, err)
	_, err = o.db.ExecContext(t.Context(), `CREATE TRIGGER refuse AFTER INSERT ON shop.log FOR EACH ROW WHEN (NEW.key = '`+lostOrder+`' AND convert_from(NEW.payload, 'UTF8')::json->>'n' = '-9') EXECUTE FUNCTION shop.refuse()`)
	require.NoError(t, err)

	failed := errors.New("the request failed")
	endings := map[string]func(ctx context.Context, cancel func(), tx *bus.Tx) error{
		"an error":               func(context.Context, func(), *bus.Tx) error { return failed },
		"a context that is over": func(_ context.Context, cancel func(), _ *bus.Tx) error { cancel(); return nil },
		"a lost connection": func(ctx context.Context, _ func(), tx *bus.Tx) error {
			_, err := tx.ExecContext(ctx, `SELECT pg_terminate_backend(pg_backend_pid())`)
			return err
		},
		"a rule that is checked at the end": func(ctx context.Context, _ func(), tx *bus.Tx) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO rules VALUES (1)`)
			return err
		},
		"the last row": func(_ context.Context, _ func(), tx *bus.Tx) error { return tx.Publish(paid{lostOrder, -9}) },
	}
	under(o, func() {
		for round := range 3 {
			for name, end := range endings {
				ctx, cancel := context.WithCancel(t.Context())
				err := o.DB("shop").InTx(ctx, func(tx *bus.Tx) error {
					if err := errors.Join(tx.Publish(paid{lostOrder, 1}), tx.Send(pack{lostOrder})); err != nil {
						return err
					}
					return end(ctx, cancel, tx)
				})
				cancel()
				require.Error(t, err, "a transaction that ends with %s", name)
			}
			if round == 1 && trouble != nil {
				trouble()
			}
		}
	})
	records := 0
	for _, topic := range []string{"shop.events", "store.commands"} {
		for _, record := range everything(t, cfg.Brokers, topic) {
			require.NotEqual(t, lostOrder, string(record.Key), "%s has what was never committed: %s", topic, record.Value)
			records++
		}
	}
	require.GreaterOrEqual(t, records, 100, "what was committed is there")
}

// everything reads a topic from its start to its present end.
func everything(t *testing.T, brokers []string, topic string) (all []*sarama.ConsumerMessage) {
	t.Helper()
	client, _ := askBrokers(t, brokers)
	consumer, err := sarama.NewConsumerFromClient(client)
	require.NoError(t, err)
	partitions, err := client.Partitions(topic)
	require.NoError(t, err)
	for _, p := range partitions {
		end, err := client.GetOffset(topic, p, sarama.OffsetNewest)
		require.NoError(t, err)
		start, err := client.GetOffset(topic, p, sarama.OffsetOldest)
		require.NoError(t, err)
		if start == end {
			continue
		}
		read, err := consumer.ConsumePartition(topic, p, sarama.OffsetOldest)
		require.NoError(t, err)
		late := time.NewTimer(patience)
		for last := int64(-1); last < end-1; {
			select {
			case record := <-read.Messages():
				all, last = append(all, record), record.Offset
			case <-late.C:
				require.FailNow(t, "a record does not come", "%s, partition %d, behind %d of %d", topic, p, last, end)
			}
		}
		late.Stop()
		require.NoError(t, read.Close())
	}
	require.NoError(t, consumer.Close())
	return all
}

func TestRelay_SendsOnlyCommittedMessagesToAFakeBroker(t *testing.T) {
	t.Parallel()
	onlyCommitted(t, configFor(fake(t).Addresses()), nil)
}

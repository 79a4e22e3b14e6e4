package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus/kafkabridge/fakebroker"
	"millrace/test/broker"
)

func fakeKafka(t *testing.T) *kafka {
	t.Helper()
	b, err := fakebroker.Start()
	require.NoError(t, err)
	t.Cleanup(b.Close)
	return &kafka{brokers: b.Addresses()}
}

// Both ways to the brokers bring everything there once and in order, and both
// ways from there handle it once in each group: the measures check that
// themselves, here on a fake broker.
func TestKafkaContender_SendsAndHandlesEveryPaymentOnce(t *testing.T) {
	t.Parallel()
	const payments = 400
	s, err := startServer(t.Context(), false)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.stop()) })
	k := fakeKafka(t)
	r := &run{server: s, found: newFindings(), log: io.Discard, kafka: k}
	for _, kind := range []kind{k.ours(), k.stock(pollFast)} {
		require.NoError(t, r.with(t.Context(), kind, func(c contender, _ string) error {
			_, err := r.relayRate(t.Context(), k, c.(relayer), payments, false)
			return err
		}), kind.name)
		require.NoError(t, r.with(t.Context(), kind, func(c contender, url string) error {
			observed, err := r.handle(t.Context(), c, url, payments, behaviour{}, time.Minute, unwatched)
			if err != nil {
				return err
			}
			require.EqualValues(t, payments*len(groups), observed.count.Load(), kind.name)
			require.Positive(t, observed.whole())
			return onceInOrder(t.Context(), c, url)
		}), kind.name)
	}
}

func TestKafkaTopic_WithFaultYieldsNoFigure(t *testing.T) {
	t.Parallel()
	k := fakeKafka(t)
	send := func(topic string, where func(seq int) int32, seqs ...int) {
		require.NoError(t, k.create(topic))
		settings := broker.Config()
		settings.Producer.Return.Successes = true
		settings.Producer.Partitioner = sarama.NewManualPartitioner
		producer, err := sarama.NewSyncProducer(k.brokers, settings)
		require.NoError(t, err)
		for _, seq := range seqs {
			_, _, err := producer.SendMessage(&sarama.ProducerMessage{Topic: topic, Partition: where(seq), Value: sarama.ByteEncoder(newPayment(seq).json())})
			require.NoError(t, err)
		}
		require.NoError(t, producer.Close())
	}
	spread := func(seq int) int32 { return int32(seq % keys % kafkaPartitions) }
	send("good", spread, 0, 1, 2)
	require.NoError(t, k.checkTopic("good", 3))
	send("short", spread, 0, 2)
	require.ErrorContains(t, k.checkTopic("short", 3), "1 of 3 payments were not sent")
	send("twice", spread, 0, 1, 1, 2)
	require.ErrorContains(t, k.checkTopic("twice", 3), "payment 1 is there twice")
	send("disorder", spread, keys+1, 1)
	require.ErrorContains(t, k.checkTopic("disorder", keys+2), "payment 1 comes after 10001 of the same key")
	send("torn", func(seq int) int32 { return int32(seq / keys) }, 1, keys+1)
	require.ErrorContains(t, k.checkTopic("torn", keys+2), "in another partition")
}

func TestEffects_OutOfOrderYieldNoFigure(t *testing.T) {
	t.Parallel()
	s, err := startServer(t.Context(), false)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.stop()) })
	url, _, err := s.database(t.Context())
	require.NoError(t, err)
	c, err := openStock(pollFast)(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.close()) })
	db, err := sql.Open("postgres", url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	first, second := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	insert := fmt.Sprintf(insertEffect, "effects_"+groups[1])
	for _, p := range []struct {
		id  uuid.UUID
		key string
	}{{second, "a"}, {first, "b"}, {second, "b"}} {
		_, err = db.ExecContext(t.Context(), insert, p.id, p.key, 1)
		require.NoError(t, err)
	}
	require.NoError(t, onceInOrder(t.Context(), c, url))
	_, err = db.ExecContext(t.Context(), insert, first, "a", 1)
	require.NoError(t, err)
	require.ErrorContains(t, onceInOrder(t.Context(), c, url), "1 of 4 effects came after a later one of their key")
}

func TestArguments_KafkaSelectsAllItsMeasures(t *testing.T) {
	t.Parallel()
	o, err := parse([]string{"--only", "kafka,idle"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []string{"kafka-relay", "kafka-latency", "kafka-handled", "kafka-backlog", "idle"}, o.only)
}

func TestReport_NotesThatKafkaMeasuresNeedJava(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("JAVA_HOME", "")
	r := &run{found: newFindings(), scale: options{quick: true}.scale()}
	require.NoError(t, relaying(context.Background(), r))
	require.Equal(t, []string{"The measures on Kafka were left out: a real broker needs Java 17 or newer, which is not installed here"}, r.found.notes)
	require.Empty(t, r.found.order)
}

func TestRate_OfBoardWithoutGroups(t *testing.T) {
	t.Parallel()
	n := int64(0)
	b, err := watchCount(t.Context(), func() int64 { n++; return n }, 20, time.Minute)
	require.NoError(t, err)
	require.Positive(t, b.rate())
	_, err = watchCount(t.Context(), func() int64 { return 3 }, 20, 10*time.Millisecond)
	require.ErrorContains(t, err, "3 of 20 rows were sent")
}

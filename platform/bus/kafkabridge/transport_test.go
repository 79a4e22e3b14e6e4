//go:build slow

package kafkabridge

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/platform/bus"
	"millrace/platform/bus/deadletter"
	"millrace/platform/bus/envelope"
	"millrace/platform/bus/kafkabridge/fakebroker"
	"millrace/platform/postgres/pgtest"
)

func TestTransport_SendsAfterBrokersWereAway(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var first *fakebroker.Broker
	port, err := 0, errors.New("no port was tried")
	for try := 0; err != nil && try < 100; try++ { // below the ports that systems assign: it is still free when the broker comes back
		port = 20000 + rand.IntN(10000)
		first, err = fakebroker.Start(kfake.Ports(port), kfake.DataDir(dir), kfake.SyncWrites(), kfake.GroupMinSessionTimeout(500*time.Millisecond))
	}
	require.NoError(t, err)
	var once sync.Once
	t.Cleanup(func() { once.Do(first.Close) })
	cfg := configFor(first)
	cfg.SendTimeout, cfg.Stall = 300*time.Millisecond, 3*time.Second
	o := open(t, cfg)
	o.publish(0, 20)
	o.effects(20)
	eventually(t, "flowing", func() bool { return o.Flowing() == nil })

	once.Do(first.Close)
	o.publish(20, 20) // requests are served
	eventually(t, "blocked", func() bool {
		still := o.Flowing()
		return still != nil && strings.Contains(still.Error(), "shop.events of shop, partition")
	})
	eventually(t, "healthy, too", func() bool { return o.Healthy() == nil }) // after a stall the lease is renewed first

	second, err := fakebroker.Start(kfake.Ports(port), kfake.DataDir(dir), kfake.GroupMinSessionTimeout(500*time.Millisecond))
	require.NoError(t, err)
	t.Cleanup(second.Close)
	o.effects(40)
	eventually(t, "flowing", func() bool { return o.Flowing() == nil })
}

// An unreadable record is one dead letter, which can be discarded and not retried. A foreign
// event of a known type is handled, whatever is next to it.
func TestTransport_UnreadableRecordIsADeadLetter(t *testing.T) {
	t.Parallel()
	cfg := configFor(fake(t))
	url := pgtest.URL(t)
	o := openIn(t, cfg, url)
	produce(t, cfg, &sarama.ProducerMessage{Topic: "shop.events", Key: sarama.StringEncoder("order-1"), Value: sarama.ByteEncoder("\xff no JSON")})
	produce(t, cfg, &sarama.ProducerMessage{Topic: "shop.events", Key: sarama.StringEncoder("order-1"), Value: sarama.ByteEncoder(`{"order":"order-1","n":0}`),
		Headers: []sarama.RecordHeader{{Key: []byte("ce_type"), Value: []byte("shop.paid")}, {Key: []byte("ce_id"), Value: []byte("A-1")}}})
	eventually(t, "a dead letter, and the effect of the next record", func() bool {
		return o.text(`SELECT coalesce((SELECT string_agg(type || ' ' || state, ',') FROM store.parked_messages), '') || ' ' || (SELECT count(*) FROM store.effects)`) == "unreadable dead 1"
	})
	db := connect(t, url)
	defer func() { // a record with an invalid type is a dead letter, too
		produce(t, cfg, &sarama.ProducerMessage{Topic: "shop.events", Key: sarama.StringEncoder("order-2"), Value: sarama.ByteEncoder(`{"order":"order-2"}`),
			Headers: []sarama.RecordHeader{{Key: []byte("ce_type"), Value: []byte("\x1b[2Jshop.paid")}, {Key: []byte("ce_id"), Value: []byte("A-2")}}})
		eventually(t, "a dead letter with its type and its payload", func() bool {
			return o.text(`SELECT coalesce(string_agg(type || ' ' || state || ' ' || error || ' ' || convert_from(payload, 'UTF8'), ','), '') FROM store.parked_messages WHERE error LIKE '%x1b%'`) ==
				`unreadable dead it came through the bridge with a type that no message may have, so nobody can read it: \x1b[2Jshop.paid {"order":"order-2"}`
		})
	}()
	letters, err := deadletter.List(t.Context(), db, []string{"store"}, 1000)
	require.NoError(t, err)
	require.Len(t, letters, 1)
	require.ErrorContains(t, deadletter.Retry(t.Context(), db, []string{"store"}, letters[0].ID), "nobody can read it")
	require.NoError(t, deadletter.Discard(t.Context(), db, []string{"store"}, letters[0].ID, "operator", "a test"))
	require.Positive(t, o.Counts().Unreadable)
}

// The brokers refuse the records of one topic.
func TestTransport_RefusedTopicDelaysNoOther(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg := configFor(b)
	cfg.SendTimeout = 10 * time.Minute
	o := open(t, cfg)
	h := b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "store.commands", Err: kerr.NotLeaderForPartition, Count: -1})
	for n := range 10 { // one by one: for each, a worker of the relay waits
		key := "order-" + strconv.Itoa(n)
		require.NoError(t, o.DB("shop").InTx(t.Context(), func(tx *bus.Tx) error {
			return errors.Join(tx.Publish(paid{key, n}), tx.Send(pack{key}))
		}))
		eventually(t, "event "+strconv.Itoa(n), func() bool {
			return o.text(`SELECT count(*) FROM store.effects WHERE n >= 0`) == strconv.Itoa(n+1)
		})
	}
	require.Equal(t, "0", o.text(`SELECT count(*) FROM store.effects WHERE n < 0`))
	h.Remove()
	o.effects(10)
}

func TestTransport_ClosesInTimeWhileBrokersHang(t *testing.T) {
	t.Parallel()
	b := fake(t)
	o := open(t, configFor(b))
	o.publish(0, 20)
	o.effects(20)
	_, thaw := freeze(t, b.Cluster, kmsg.Produce, kmsg.Fetch, kmsg.Heartbeat, kmsg.LeaveGroup, kmsg.OffsetCommit, kmsg.Metadata)
	o.publish(20, 5)
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = o.Drain(ctx) // it may time out
		done <- o.Close()
	}()
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(patience):
		require.FailNow(t, "close hangs with the brokers")
	}
	thaw()
	o.stop = func() {}
}

// A client that may write to a topic can give a record any sequence number. That must not make
// a module's message vanish.
func TestTransport_ForgedNumbersHideNoMessage(t *testing.T) {
	t.Parallel()
	cfg := configFor(fake(t))
	o := open(t, cfg)
	publish := func(n int) {
		require.NoError(t, o.DB("shop").InTx(t.Context(), func(tx *bus.Tx) error { return tx.Publish(paid{"order-1", n}) }))
	}
	forge := func(sequence int64, n int) {
		var headers []sarama.RecordHeader
		for name, value := range map[string]string{envelope.ID: uuid.NewString(), envelope.Type: "shop.paid", envelope.Source: "shop", envelope.Key: "order-1", envelope.Sequence: strconv.FormatInt(sequence, 10)} {
			headers = append(headers, sarama.RecordHeader{Key: []byte(name), Value: []byte(value)})
		}
		produce(t, cfg, &sarama.ProducerMessage{Topic: "shop.events", Key: sarama.StringEncoder("order-1"), Headers: headers,
			Value: sarama.StringEncoder(`{"order":"order-1","n":` + strconv.Itoa(n) + `}`)})
	}
	const parked = `SELECT coalesce(string_agg(type || ' ' || state || ' ' || convert_from(payload, 'UTF8'), ', ' ORDER BY id), '') FROM store.parked_messages`
	handled := func(want string) {
		t.Helper()
		eventually(t, want, func() bool {
			return o.text(`SELECT coalesce(string_agg(n::text, ' ' ORDER BY n), '') FROM store.effects`) == want
		})
	}
	publish(1)
	handled("1")
	forge(2, 7)
	handled("1 7")
	publish(2)
	eventually(t, "a dead letter of the true message", func() bool { return o.text(parked) == `millrace.refused dead {"order":"order-1","n":2}` })
	forge(1<<60, 8)
	eventually(t, "a dead letter of the number that cannot be", func() bool {
		return o.text(parked) == `millrace.refused dead {"order":"order-1","n":2}, millrace.refused dead {"order":"order-1","n":8}`
	})
	publish(3)
	handled("1 3 7")
}

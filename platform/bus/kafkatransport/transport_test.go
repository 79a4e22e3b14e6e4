//go:build slow

package kafkatransport

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/platform/bus"
	"millrace/platform/bus/admin"
	"millrace/platform/bus/deadletter"
	"millrace/platform/bus/kafkatransport/fakebroker"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
)

// opened is a whole transport with its router, and a look into its database.
type opened struct {
	*Transport
	t    *testing.T
	text func(query string) string
	stop func()
}

// open hosts the houses in a database of its own.
func open(t *testing.T, cfg Config) *opened {
	t.Helper()
	return openOn(t, cfg, pgtest.URL(t))
}

// openOn hosts the houses in a database, which may have been theirs before.
func openOn(t *testing.T, cfg Config, url string) *opened {
	t.Helper()
	note := func(ctx context.Context, tx *bus.Tx, p paid) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO effects (key, n) VALUES ($1, $2)`, p.Order, p.N)
		return err
	}
	packs := func(ctx context.Context, tx *bus.Tx, p pack) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO effects (key, n) VALUES ($1, -1)`, p.Order)
		return err
	}
	parts := houses()
	parts[1] = unit{name: "store", hears: []bus.Subscription{bus.On(note), bus.Handle(packs)}}
	topo := topology(t, parts...)
	require.NoError(t, admin.Migrate(t.Context(), url, topo))
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 2})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.ExecContext(t.Context(), `CREATE TABLE IF NOT EXISTS store.effects (at bigint GENERATED ALWAYS AS IDENTITY, key text, n int)`)
	require.NoError(t, err)

	o := &opened{t: t, text: func(query string) (got string) {
		require.NoError(t, db.QueryRowContext(context.Background(), query).Scan(&got), query)
		return got
	}}
	o.Transport, err = Open(t.Context(), cfg, sqltransport.Config{URL: url, MaxConnsPerModule: 6, Poll: time.Minute, Logger: cfg.Logger}, topo, topo.Modules())
	require.NoError(t, err)
	router, err := bus.NewRouter(topo, topo.Modules(), o.Subscriber, slog.New(slog.DiscardHandler), watermill.NopLogger{})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- router.Run(context.Background()) }()
	<-router.Running()
	var once sync.Once
	o.stop = func() {
		once.Do(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			require.NoError(t, o.Drain(ctx))
			require.NoError(t, router.Close())
			require.NoError(t, <-done)
			require.NoError(t, o.Close())
		})
	}
	t.Cleanup(func() { o.stop() })
	return o
}

// say publishes events of five keys, numbered from first, and a command.
func (o *opened) say(first, n int) {
	o.t.Helper()
	for i := range n {
		require.NoError(o.t, o.DB("shop").InTx(context.Background(), func(tx *bus.Tx) error {
			if err := tx.Publish(paid{"order-" + strconv.Itoa(i%5), first + i}); err != nil {
				return err
			}
			return tx.Send(pack{"order-" + strconv.Itoa(i%5)})
		}))
	}
}

// effects waits until each of n events and as many commands had their effect,
// once and in order.
func (o *opened) effects(n int) {
	o.t.Helper()
	eventually(o.t, strconv.Itoa(n)+" effects", func() bool {
		return o.text(`SELECT count(*) FILTER (WHERE n >= 0) || ' ' || count(*) FILTER (WHERE n < 0) FROM store.effects`) == strconv.Itoa(n)+" "+strconv.Itoa(n)
	})
	require.Equal(o.t, "0", o.text(`SELECT count(*) FROM (SELECT n - lag(n) OVER (PARTITION BY key ORDER BY at) AS step FROM store.effects WHERE n >= 0) AS s WHERE step <= 0`))
	require.Equal(o.t, "0", o.text(`SELECT count(*) FROM store.parked_messages`))
}

func TestATopicThatWasDeletedComesBackWithWhatWasSaidInIt(t *testing.T) {
	t.Parallel()
	b := fake(t)
	o := open(t, configFor(b))
	o.say(0, 50)
	o.effects(50)
	said := 50
	for _, topic := range []string{"shop.events", "store.commands"} {
		before := b.TopicInfo(topic).TopicID
		require.NoError(t, b.DeleteTopic(topic))
		o.say(said, 5)
		eventually(t, "another topic", func() bool { info := b.TopicInfo(topic); return info != nil && info.TopicID != before })
		o.say(said+5, 5)
		said += 10
		o.effects(said)
	}
	require.GreaterOrEqual(t, len(consumed(t, o.cfg, "shop.events", said)), said)
}

func TestBrokersThatWereAwayAreSentWhatWasSaidMeanwhile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var first *fakebroker.Broker
	port, err := 0, errors.New("no port was tried")
	for try := 0; err != nil && try < 100; try++ { // below those that a system hands out: it is free when the brokers come back
		port = 20000 + rand.IntN(10000)
		first, err = fakebroker.Start(kfake.Ports(port), kfake.DataDir(dir), kfake.SyncWrites(), kfake.GroupMinSessionTimeout(500*time.Millisecond))
	}
	require.NoError(t, err)
	var once sync.Once
	t.Cleanup(func() { once.Do(first.Close) })
	cfg := configFor(first)
	cfg.SendTimeout, cfg.Stall = 300*time.Millisecond, 3*time.Second
	o := open(t, cfg)
	o.say(0, 20)
	o.effects(20)
	eventually(t, "flowing", func() bool { return o.Flowing() == nil })

	once.Do(first.Close)
	o.say(20, 20) // requests go on
	eventually(t, "blocked", func() bool {
		still := o.Flowing()
		return still != nil && strings.Contains(still.Error(), "shop.events of shop, partition")
	})
	eventually(t, "healthy all the same", func() bool { return o.Healthy() == nil }) // a machine that stood still has to renew its lease first

	second, err := fakebroker.Start(kfake.Ports(port), kfake.DataDir(dir), kfake.GroupMinSessionTimeout(500*time.Millisecond))
	require.NoError(t, err)
	t.Cleanup(second.Close)
	o.effects(40)
	eventually(t, "flowing", func() bool { return o.Flowing() == nil })
}

// emptied waits until all commands were deleted.
func emptied(t *testing.T, b *fakebroker.Broker) {
	t.Helper()
	eventually(t, "an empty topic", func() bool {
		for _, p := range b.PartitionInfos("store.commands") {
			if p.LogStartOffset != p.HighWatermark {
				return false
			}
		}
		return true
	})
}

func TestCommandsAreGoneFromTheirTopicWhenTheyWereReceived(t *testing.T) {
	t.Parallel()
	b := fake(t)
	o := open(t, configFor(b))
	o.say(0, 30)
	o.effects(30)
	emptied(t, b)
	require.Len(t, consumed(t, o.cfg, "shop.events", 30), 30)
	o.say(30, 5)
	o.effects(35)
}

// TestASubscriptionThatStandsStillIsReadPastAndStartsAnew: a partition gets
// nothing although its member is healthy, as faults of clients had it.
func TestASubscriptionThatStandsStillIsReadPastAndStartsAnew(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg := configFor(b)
	cfg.Stall = 2 * time.Second
	o := open(t, cfg)
	o.say(0, 20)
	o.effects(20)
	h := b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: "shop.events", Err: kerr.NotLeaderForPartition, Count: -1, When: func(r kmsg.Request) bool {
		fetch, ok := r.(*kmsg.FetchRequest)
		return ok && fetch.MaxWaitMillis == int32(groupWait.Milliseconds())
	}})
	eventually(t, "the end of the fetch that waits", func() bool { return h.Hits() > 0 })
	o.say(20, 10)
	o.effects(30)
	require.Positive(t, o.Counts().Reread)
	eventually(t, "a restart", func() bool { return o.Counts().Restarts > 0 })
	require.ErrorContains(t, o.Flowing(), "lay unread for 2s")
	h.Remove()
	o.say(30, 10)
	o.effects(40)
	eventually(t, "flowing", func() bool { return o.Flowing() == nil })
}

// What nobody can read is a dead letter, once, that can be discarded and nothing
// else; a foreign event of a known type is handled, whatever lies beside it.
func TestARecordThatNobodyCanReadIsADeadLetterToDiscard(t *testing.T) {
	t.Parallel()
	cfg := configFor(fake(t))
	url := pgtest.URL(t)
	o := openOn(t, cfg, url)
	produce(t, cfg, &sarama.ProducerMessage{Topic: "shop.events", Key: sarama.StringEncoder("order-1"), Value: sarama.ByteEncoder("\xff no JSON")})
	produce(t, cfg, &sarama.ProducerMessage{Topic: "shop.events", Key: sarama.StringEncoder("order-1"), Value: sarama.ByteEncoder(`{"order":"order-1","n":0}`),
		Headers: []sarama.RecordHeader{{Key: []byte("ce_type"), Value: []byte("shop.paid")}, {Key: []byte("ce_id"), Value: []byte("A-1")}}})
	eventually(t, "a dead letter and the effect beside it", func() bool {
		return o.text(`SELECT coalesce((SELECT string_agg(type || ' ' || state, ',') FROM store.parked_messages), '') || ' ' || (SELECT count(*) FROM store.effects)`) == "unreadable dead 1"
	})
	db := looker(t, url)
	defer func() { // and so is one with a type that no message may have
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

// The brokers take nothing of one topic, for as long as they like.
func TestATopicThatTheBrokersRefuseHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg := configFor(b)
	cfg.SendTimeout = 10 * time.Minute
	o := open(t, cfg)
	h := b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "store.commands", Err: kerr.NotLeaderForPartition, Count: -1})
	for n := range 10 { // one by one: each has an executor of the relay wait
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

func TestClosingWhileTheBrokersHangTakesSeconds(t *testing.T) {
	t.Parallel()
	b := fake(t)
	o := open(t, configFor(b))
	o.say(0, 20)
	o.effects(20)
	_, thaw := freeze(t, b.Cluster, kmsg.Produce, kmsg.Fetch, kmsg.Heartbeat, kmsg.LeaveGroup, kmsg.OffsetCommit, kmsg.Metadata)
	o.say(20, 5)
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = o.Drain(ctx) // it may say that it could not
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

package sqltransport

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"
)

// behind is a line whose answers lie behind what was said before, as after the
// process was stopped for a while.
type behind struct {
	said  chan *pq.Notification
	asked atomic.Int64
}

func (b *behind) NotificationChannel() <-chan *pq.Notification { return b.said }

func (b *behind) Ping() error {
	for range 100 {
		b.said <- &pq.Notification{Extra: "noise"}
	}
	b.asked.Add(1)
	return nil
}

// Hearing waited for the answer, and the answer for hearing: nothing was heard
// any more, and the process never ended.
func TestWhoeverAsksWhetherTheLineIsThereGoesOnHearing(t *testing.T) {
	t.Parallel()
	line := &behind{said: make(chan *pq.Notification)}
	tr := &Transport{cfg: Config{Logger: slog.Default()}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tr.attend(ctx, line, time.Millisecond)
	}()
	require.Eventually(t, func() bool { return line.asked.Load() >= 3 }, time.Minute, time.Millisecond)
	cancel()
	select {
	case <-done:
	case <-time.After(time.Minute):
		require.Fail(t, "it does not end")
	}
}

// One subscriber has read a row of which another was not told: who said it was
// killed before its notification left.
func TestAPollWakesASubscriberThatWasNotToldOfWhatAnotherHasRead(t *testing.T) {
	t.Parallel()
	db := shop(t)
	r := newReader(db, "shop.events", "shop.log")
	tr := &Transport{db: db, cfg: Config{Logger: slog.Default()}, readers: map[string]*reader{"shop.events": r}, subscribers: map[string]*subscriber{}}
	for _, name := range []string{"ahead", "late"} {
		s := emptySubscriber(tr, name, name, db)
		s.addTasks("shop.events")
		s.readers["shop.events"] = r
		close(s.started)
		tr.subscribers[name] = s
	}
	say(t, db, 1, 10)
	require.Empty(t, next(t, r, 1, 10), "what one is behind already, taking over")
	require.NoError(t, tr.poll(t.Context(), "shop.events", r))
	late := tr.subscribers["late"]
	require.Equal(t, queued, late.tasks["shop.events"][7].state)
	require.Equal(t, []int64{1}, next(t, r, 0, 10))

	late.tasks["shop.events"][7].state = idle
	require.NoError(t, tr.poll(t.Context(), "shop.events", r))
	require.Equal(t, idle, late.tasks["shop.events"][7].state, "nothing new, and nobody is woken")
}

// PostgreSQL refuses a payload of 8,000 bytes: it was sent again without end.
func TestNotifier_SendsManyTopicsInSeveralPayloads(t *testing.T) {
	t.Parallel()
	db := shop(t)
	n := newNotifier(db, uuid.NewString(), time.Minute)
	dirty := wakeup{}
	for i := range 300 {
		dirty[fmt.Sprintf("module%023d.commands", i)] = math.MaxUint64
	}
	payloads := encodeWakeup(n.process, dirty)
	require.Greater(t, len(payloads), 1)
	tr := &Transport{process: uuid.New(), notifier: n, subscribers: map[string]*subscriber{}, readers: map[string]*reader{}}
	got := wakeup{}
	for _, payload := range payloads {
		require.NoError(t, n.notify(t.Context(), payload))
		tr.heard(payload)
		for _, word := range strings.Fields(payload)[2:] {
			topic, bits, _ := strings.Cut(word, "=")
			require.Equal(t, "ffffffffffffffff", bits)
			got[topic] = math.MaxUint64
		}
	}
	require.Equal(t, dirty, got)
}

// The server cuts an application's name off after 63 bytes, and with it the
// process: transactions of an expired process of such a module were never ended.
func TestApplicationName_EndsWithTheProcessHoweverLongTheModulesName(t *testing.T) {
	t.Parallel()
	process := uuid.New()
	require.Equal(t, "millrace delivery "+process.String(), applicationName("delivery", process))
	name := applicationName("abcdefghijklmnopqrstuvwxyz0123", process)
	require.Len(t, name, 63)
	require.True(t, strings.HasSuffix(name, " "+process.String()), name)
}

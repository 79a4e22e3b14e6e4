package sqltransport

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lib/pq"

	"millrace/platform/bus/store"
	"millrace/platform/failpoint"
	"millrace/platform/postgres"
)

// channel is the PostgreSQL notification channel that all processes share.
const channel = "millrace"

// wakeup says where something was committed: partitions as bits, by topic.
type wakeup map[string]uint64

// notifier tells other processes what was committed here: after the commit,
// coalesced, on a connection of its own. (NOTIFY inside the transactions
// themselves would make their commits wait for each other.) While no other
// process lives it is silent; one that starts says hello.
type notifier struct {
	db      *sql.DB // one connection, synchronous_commit=off
	process string
	others  atomic.Bool  // somebody else lives
	heard   atomic.Int64 // when somebody else last said something, in Unix milliseconds
	memory  time.Duration
	arrived chan struct{}

	mu      sync.Mutex
	pending wakeup
}

func newNotifier(db *sql.DB, process string, memory time.Duration) *notifier {
	return &notifier{db: db, process: process, memory: memory, arrived: make(chan struct{}, 1), pending: wakeup{}}
}

// hear notes that somebody else lives. It is believed for a while even if the
// lease table does not show it: who says hello has no lease yet.
func (n *notifier) hear() {
	n.heard.Store(time.Now().UnixMilli())
	n.others.Store(true)
}

// alive is what the lease table says.
func (n *notifier) alive(others bool) {
	n.others.Store(others || time.Since(time.UnixMilli(n.heard.Load())) < n.memory)
}

func (n *notifier) tell(dirty wakeup) {
	if !n.others.Load() {
		return
	}
	n.mu.Lock()
	for topic, partitions := range dirty {
		n.pending[topic] |= partitions
	}
	n.mu.Unlock()
	select {
	case n.arrived <- struct{}{}:
	default:
	}
}

// loop sends until ctx ends. What could not be sent is sent again: a process
// that missed it would find it only by its fall-back poll.
func (n *notifier) loop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.arrived:
		}
		n.mu.Lock()
		sending := n.pending // cleared before sending: what comes meanwhile is sent next
		n.pending = wakeup{}
		n.mu.Unlock()
		if len(sending) == 0 {
			continue
		}
		failpoint.Here("notify.before_send")
		for _, payload := range encodeWakeup(n.process, sending) {
			if err := n.notify(ctx, payload); err != nil && ctx.Err() == nil {
				n.tell(sending)
				select {
				case <-ctx.Done():
				case <-time.After(200 * time.Millisecond):
				}
				break
			}
		}
	}
}

func (n *notifier) notify(ctx context.Context, payload string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := n.db.ExecContext(ctx, `SELECT pg_notify($1, $2)`, channel, payload); err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	return nil
}

// The payloads: "hello <process>", "log <process> <topic>=<hex bits> …", and
// from an operator's tool "parked <subscriber> <topic> <partition>".

// maxNotification is how long a payload may be: PostgreSQL refuses 8,000 bytes.
const maxNotification = 7999

// encodeWakeup makes one payload, or several if the topics are too many for one.
func encodeWakeup(process string, dirty wakeup) (payloads []string) {
	start := "log " + process
	payload := start
	for topic, partitions := range dirty {
		word := " " + topic + "=" + strconv.FormatUint(partitions, 16)
		if len(payload)+len(word) > maxNotification {
			payloads = append(payloads, payload)
			payload = start
		}
		payload += word
	}
	return append(payloads, payload)
}

// listen hears other processes until ctx ends. A connection that comes back
// wakes everything, since what was said meanwhile is lost.
func (t *Transport) listen(ctx context.Context, ready chan<- error) {
	events := func(event pq.ListenerEventType, err error) {
		if event == pq.ListenerEventConnectionAttemptFailed || event == pq.ListenerEventDisconnected {
			t.cfg.Logger.Warn("notifications interrupted", "error", fmt.Sprint(err))
		}
	}
	l, err := postgres.NewListener(postgres.Config{URL: t.cfg.URL, MaxConns: 1, Application: "millrace listener"}, events)
	if err == nil {
		stop := context.AfterFunc(ctx, func() { _ = l.Close() }) // Listen waits for as long as the database is away
		defer stop()
		defer hangUp(l)
		err = l.Listen(channel)
	}
	if err != nil {
		ready <- fmt.Errorf("listen: %w", err)
		return
	}
	close(ready)
	t.attend(ctx, l, 30*time.Second)
}

// line is what is used of *pq.Listener.
type line interface {
	NotificationChannel() <-chan *pq.Notification
	Ping() error
}

// attend hears what comes until ctx ends, and asks after each silence of a length
// whether the line is still there. It asks beside hearing: the answer lies behind
// what was said before, and comes only when that was heard.
func (t *Transport) attend(ctx context.Context, l line, silence time.Duration) {
	answered := make(chan error, 1)
	asking := false
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-l.NotificationChannel():
			if n == nil { // reconnected
				t.wakeAll()
				continue
			}
			t.heard(n.Extra)
		case <-time.After(silence):
			if !asking {
				asking = true
				go func() { answered <- l.Ping() }()
			}
		case err := <-answered:
			asking = false
			if err != nil {
				t.cfg.Logger.Warn("notifications interrupted", "error", err.Error())
			}
		}
	}
}

// hangUp closes a listener, but does not wait long for a server that does not
// answer. Its connection's reader waits until what it has read is heard.
func hangUp(l *pq.Listener) {
	go func() { _ = l.Close() }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range l.Notify { //nolint:revive // until it is closed
		}
	}()
	select {
	case <-done:
	case <-time.After(time.Second):
	}
}

func (t *Transport) heard(payload string) {
	words := strings.Fields(payload)
	switch {
	case len(words) == 2 && words[0] == "hello":
		if words[1] != t.process.String() {
			t.notifier.hear()
			t.lease.now()
		}
	case len(words) > 2 && words[0] == "log":
		if words[1] == t.process.String() {
			return
		}
		t.notifier.hear()
		dirty := wakeup{}
		for _, word := range words[2:] {
			topic, bits, _ := strings.Cut(word, "=")
			if partitions, err := strconv.ParseUint(bits, 16, 64); err == nil {
				dirty[topic] = partitions
			}
		}
		t.wake(dirty)
	case len(words) == 4 && words[0] == "parked":
		s := t.subscribers[words[1]]
		partition, err := strconv.Atoi(words[3])
		if s == nil || err != nil || s.tasks[words[2]] == nil || partition < 0 || partition >= store.Partitions {
			return
		}
		s.queue.poke(&s.tasks[words[2]][partition])
	}
}

// AsideChanged is the notification with which an operator's tool tells the
// partition's owner, in whatever process, that it changed a state.
func AsideChanged(ctx context.Context, tx *sql.Tx, subscriber, topic string, partition int) error {
	if _, err := tx.ExecContext(ctx, `SELECT pg_notify($1, $2)`, channel, fmt.Sprintf("parked %s %s %d", subscriber, topic, partition)); err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	return nil
}

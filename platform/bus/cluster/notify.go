package cluster

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"millrace/platform/failpoint"
)

// channel is the PostgreSQL notification channel that all nodes share.
const channel = "millrace"

// The payloads: "hello <node>", "log <node> <source>=<hex bits> …", and, from an
// operator's command, "parked <subscriber> <stream> <partition>".

// maxPayload is the longest payload in bytes: PostgreSQL refuses 8,000.
const maxPayload = 7999

// Changes are the partitions with new rows, as bits, by the name of what is read.
type Changes map[string]uint64

// Notifier notifies the other nodes of changes after they were committed, coalesced, on a
// connection of its own. (NOTIFY inside the transactions would make their commits wait
// for each other.) While no other node is alive it sends nothing; a node that starts calls
// Hello.
type Notifier struct {
	db     *sql.DB // one connection, synchronous_commit=off
	node   uuid.UUID
	memory time.Duration
	others atomic.Bool  // another node is alive
	seen   atomic.Int64 // when another node last notified, in Unix milliseconds
	ready  chan struct{}

	mu      sync.Mutex
	pending Changes
}

// NewNotifier returns a node's notifier. memory is how long a node counts as alive after
// it has notified, even without a lease: a node that starts has none yet.
func NewNotifier(db *sql.DB, node uuid.UUID, memory time.Duration) *Notifier {
	return &Notifier{db: db, node: node, memory: memory, ready: make(chan struct{}, 1), pending: Changes{}}
}

// SawOther records that another node has notified.
func (n *Notifier) SawOther() {
	n.seen.Store(time.Now().UnixMilli())
	n.others.Store(true)
}

// SetOthers records whether the leases show that another node is alive.
func (n *Notifier) SetOthers(alive bool) {
	n.others.Store(alive || time.Since(time.UnixMilli(n.seen.Load())) < n.memory)
}

// Notify has Run send the changes. It does not block.
func (n *Notifier) Notify(changes Changes) {
	if !n.others.Load() {
		return
	}
	n.mu.Lock()
	for source, partitions := range changes {
		n.pending[source] |= partitions
	}
	n.mu.Unlock()
	select {
	case n.ready <- struct{}{}:
	default:
	}
}

// Run sends until ctx ends. What could not be sent is sent again: a node that misses it
// finds the rows only by polling.
func (n *Notifier) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.ready:
		}
		n.mu.Lock()
		sending := n.pending // changes from now on are sent next
		n.pending = Changes{}
		n.mu.Unlock()
		if len(sending) == 0 {
			continue
		}
		failpoint.Here("notify.before_send")
		for _, payload := range encode(n.node, sending) {
			if err := n.send(ctx, payload); err != nil && ctx.Err() == nil {
				n.Notify(sending)
				select {
				case <-ctx.Done():
				case <-time.After(200 * time.Millisecond):
				}
				break
			}
		}
	}
}

// Hello makes the other nodes notify this one, and share partitions with it.
func (n *Notifier) Hello(ctx context.Context) error { return n.send(ctx, "hello "+n.node.String()) }

func (n *Notifier) send(ctx context.Context, payload string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := n.db.ExecContext(ctx, `SELECT pg_notify($1, $2)`, channel, payload); err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	return nil
}

// encode makes one payload, or several if there are too many sources for one.
func encode(node uuid.UUID, changes Changes) (payloads []string) {
	start := "log " + node.String()
	payload := start
	for source, partitions := range changes {
		word := " " + source + "=" + strconv.FormatUint(partitions, 16)
		if len(payload)+len(word) > maxPayload {
			payloads = append(payloads, payload)
			payload = start
		}
		payload += word
	}
	return append(payloads, payload)
}

// decode reads the words of a payload behind the node. It leaves out what it cannot read.
func decode(words []string) Changes {
	changes := Changes{}
	for _, word := range words {
		source, bits, _ := strings.Cut(word, "=")
		if partitions, err := strconv.ParseUint(bits, 16, 64); err == nil {
			changes[source] = partitions
		}
	}
	return changes
}

// NotifyParked notifies, when tx commits, the node to which the partition is assigned
// that an operator has changed the state of a parked message.
func NotifyParked(ctx context.Context, tx *sql.Tx, subscriber, stream string, partition int) error {
	if _, err := tx.ExecContext(ctx, `SELECT pg_notify($1, $2)`, channel, fmt.Sprintf("parked %s %s %d", subscriber, stream, partition)); err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	return nil
}

package cluster

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

// MaxTTL is the longest lease time.
const MaxTTL = time.Minute

// Config describes a node.
type Config struct {
	Node uuid.UUID
	TTL  time.Duration // the lease time, at most MaxTTL
	// DB has connections of the lease alone, so that it waits for no reader and no
	// request: one for the renewal, one for the assignment. Search path: bus.
	DB *sql.DB
	// Members are what the node works for.
	Members func() []Member
	// TopicOf returns the topic of a message type, or "".
	TopicOf func(messageType string) string
	// Check refuses a renewal by an error. It is called after the row was written, so
	// that of a concurrent change of the installation and the node at least one sees the
	// other.
	Check func(ctx context.Context, db *sql.DB) error
	// Others is called after each look at the leases: whether another node is alive.
	Others func(alive bool)
	Logger *slog.Logger
}

// Member is a subscriber, or a relay, whose partitions are shared among the nodes.
type Member interface {
	Name() string            // as its offsets name it
	Offsets() string         // the table of its offsets, qualified and quoted
	Working() bool           // it has started, and is not stopping
	Subscriptions() []string // "name/type"; of a relay "name/topic"
	Streams() []string       // each has 64 partitions

	// Assigned returns, as bits, the stream's partitions that the member believes are
	// assigned to this node, and those of them that it is releasing.
	Assigned(stream string) (all, releasing uint64)
	// Assign informs the member that a partition is assigned to this node, Lost that it
	// is not, and Release asks it to give the partition up between two transactions.
	Assign(stream string, partition int)
	Lost(stream string, partition int)
	Release(stream string, partition int)
}

// Lease is a node's lease.
type Lease struct {
	Config

	trigger chan struct{}
	renewed atomic.Pointer[time.Time] // taken before the renewal was sent, so on the safe side
}

// NewLease returns a lease that is not valid before its first renewal.
func NewLease(cfg Config) *Lease { return &Lease{Config: cfg, trigger: make(chan struct{}, 1)} }

// Valid reports whether the other nodes still take this one for alive.
func (l *Lease) Valid() bool {
	at := l.renewed.Load()
	return at != nil && time.Since(*at) < l.TTL
}

// RenewSoon makes Run renew at once.
func (l *Lease) RenewSoon() {
	select {
	case l.trigger <- struct{}{}:
	default:
	}
}

// Run renews the lease twice per lease time until ctx ends, and after each renewal
// assigns partitions. The next renewal does not wait for the assignment, which may wait
// for a lock or for another module's table.
func (l *Lease) Run(ctx context.Context) {
	tick := time.NewTicker(l.TTL / 2)
	defer tick.Stop()
	assigned := make(chan struct{}, 1)
	assigning, again := false, false
	defer func() {
		if assigning {
			<-assigned // ctx ends it
		}
	}()
	for {
		working, err := l.renew(ctx)
		switch {
		case err == nil && assigning:
			again = true
		case err == nil:
			assigning = true
			go func() {
				if err := l.assign(ctx, working); err != nil && ctx.Err() == nil {
					l.Logger.Warn("partitions not assigned", "kind", errs.KindOf(err).String(), "error", err.Error())
				}
				assigned <- struct{}{}
			}()
		case ctx.Err() == nil:
			l.Logger.Warn("lease not renewed", "kind", errs.KindOf(err).String(), "error", err.Error())
		}
		for wait := true; wait; {
			select {
			case <-ctx.Done():
				return
			case <-assigned:
				assigning, wait, again = false, !again, false
			case <-tick.C:
				wait = false
			case <-l.trigger:
				wait = false
			}
		}
	}
}

// Renew renews the lease and assigns partitions, once.
func (l *Lease) Renew(ctx context.Context) error {
	working, err := l.renew(ctx)
	if err != nil {
		return err
	}
	return l.assign(ctx, working)
}

// renew writes the node's row. It returns the members that it names.
func (l *Lease) renew(parent context.Context) (working []Member, err error) {
	ctx, cancel := context.WithTimeout(parent, l.TTL)
	defer cancel()
	before := time.Now()
	names, subscriptions := []string{}, []string{}
	for _, m := range l.Members() {
		if m.Working() {
			working = append(working, m)
			names = append(names, m.Name())
			subscriptions = append(subscriptions, m.Subscriptions()...)
		}
	}
	slices.Sort(names)
	slices.Sort(subscriptions)
	// The pool replaces connections that broke; the renewal does not fail by them.
	if _, err := l.DB.ExecContext(ctx, `
		INSERT INTO nodes (id, modules, subscriptions, expires_at) VALUES ($1, $2, $3, clock_timestamp() + $4 * interval '1 millisecond')
		ON CONFLICT (id) DO UPDATE SET modules = excluded.modules, subscriptions = excluded.subscriptions, expires_at = excluded.expires_at`,
		l.Node, pq.Array(names), pq.Array(subscriptions), l.TTL.Milliseconds()); err != nil {
		return nil, fmt.Errorf("renew: %w", err)
	}
	if err := l.Check(ctx, l.DB); err != nil {
		return nil, err
	}
	l.renewed.Store(&before)
	failpoint.Here("lease.renewed")
	return working, nil
}

// assign shares the partitions of the members that were just renewed: in the leases the
// other nodes see for whom this one works.
func (l *Lease) assign(parent context.Context, working []Member) error {
	ctx, cancel := context.WithTimeout(parent, l.TTL)
	defer cancel()
	alive, err := l.alive(ctx)
	if err != nil {
		return err
	}
	if err := l.endStalled(ctx); err != nil && ctx.Err() == nil {
		l.Logger.Debug("stalled transactions left to the server's time limit", "error", err.Error())
	}
	var failures []error // one member's failure does not stop the others
	for _, m := range working {
		if m.Working() {
			failures = append(failures, l.balance(ctx, m, alive))
		}
	}
	return errors.Join(failures...)
}

// End gives the lease up, so that other nodes take over at once. It also removes rows of
// nodes that ended long ago.
func (l *Lease) End(ctx context.Context) error {
	if _, err := l.DB.ExecContext(ctx, `DELETE FROM nodes
		WHERE id = $1 OR expires_at < clock_timestamp() - interval '1 hour' OR expires_at > clock_timestamp() + interval '1 hour'`, l.Node); err != nil {
		return fmt.Errorf("end the lease: %w", err)
	}
	failpoint.Here("shutdown.lease_ended")
	return nil
}

package sqltransport

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"millrace/platform/bus/store"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

// lease keeps this process's row in bus.nodes alive, and shares the
// partitions among the living. It is for efficiency and take-over only; safety
// is the compare-and-set of the position.
//
// It has connections of its own, so that it waits for no reader, no sweep and no
// request: one for the renewal, one for sharing.
type lease struct {
	t       *Transport
	db      *sql.DB
	trigger chan struct{}
	renewed atomic.Pointer[time.Time] // taken before the renewal was sent, so on the safe side
}

// maxLease is the longest LeaseTTL.
const maxLease = time.Minute

func newLease(t *Transport, db *sql.DB) *lease {
	return &lease{t: t, db: db, trigger: make(chan struct{}, 1)}
}

// valid tells whether other processes still must believe in this one.
func (l *lease) valid() bool {
	at := l.renewed.Load()
	return at != nil && time.Since(*at) < l.t.cfg.LeaseTTL
}

// now makes the loop run at once.
func (l *lease) now() {
	select {
	case l.trigger <- struct{}{}:
	default:
	}
}

// loop renews the lease twice per lease time, until ctx ends, and after each
// renewal shares the partitions. The next renewal does not wait for that: what
// shares them may wait for a lock, or for another module's table.
func (l *lease) loop(ctx context.Context) {
	tick := time.NewTicker(l.t.cfg.LeaseTTL / 2)
	defer tick.Stop()
	shared := make(chan struct{}, 1)
	sharing, again := false, false
	defer func() {
		if sharing {
			<-shared // cut off by ctx
		}
	}()
	for {
		working, err := l.renew(ctx)
		switch {
		case err == nil && sharing:
			again = true
		case err == nil:
			sharing = true
			go func() {
				if err := l.share(ctx, working); err != nil && ctx.Err() == nil {
					l.t.cfg.Logger.Warn("partitions not shared", "kind", errs.KindOf(err).String(), "error", err.Error())
				}
				shared <- struct{}{}
			}()
		case ctx.Err() == nil:
			l.t.cfg.Logger.Warn("lease not renewed", "kind", errs.KindOf(err).String(), "error", err.Error())
		}
		for wait := true; wait; {
			select {
			case <-ctx.Done():
				return
			case <-shared:
				sharing, wait, again = false, !again, false
			case <-tick.C:
				wait = false
			case <-l.trigger:
				wait = false
			}
		}
	}
}

// turn renews the lease and shares the partitions, once.
func (l *lease) turn(ctx context.Context) error {
	working, err := l.renew(ctx)
	if err != nil {
		return err
	}
	return l.share(ctx, working)
}

// renew writes what this process works for, and that it lives.
func (l *lease) renew(parent context.Context) (working []*subscriber, err error) {
	ctx, cancel := context.WithTimeout(parent, l.t.cfg.LeaseTTL)
	defer cancel()
	before := time.Now()
	hosts, hears := []string{}, []string{}
	for _, s := range l.t.subscribers {
		if s.isStarted() && !s.isStopping() {
			working = append(working, s)
			hosts = append(hosts, s.module)
			hears = append(hears, s.hearing()...)
		}
	}
	slices.Sort(hosts)
	slices.Sort(hears)
	// A pool replaces connections that broke; the renewal does not fail by them.
	if _, err := l.db.ExecContext(ctx, `
		INSERT INTO nodes (id, modules, subscriptions, expires_at) VALUES ($1, $2, $3, clock_timestamp() + $4 * interval '1 millisecond')
		ON CONFLICT (id) DO UPDATE SET modules = excluded.modules, subscriptions = excluded.subscriptions, expires_at = excluded.expires_at`,
		l.t.process, pq.Array(hosts), pq.Array(hears), l.t.cfg.LeaseTTL.Milliseconds()); err != nil {
		return nil, fmt.Errorf("renew: %w", err)
	}
	// After the row is there: who switches the installation sees it, or is seen.
	if err := l.t.sameRoad(ctx, l.db); err != nil {
		return nil, err
	}
	l.renewed.Store(&before)
	failpoint.Here("lease.renewed")
	return working, nil
}

// hearing names what the subscriber gets, as "<subscriber>/<type or topic>".
func (s *subscriber) hearing() (hears []string) {
	for messageType := range s.channels {
		hears = append(hears, s.module+"/"+messageType)
	}
	if s.relay() {
		for stream := range s.tasks {
			hears = append(hears, s.module+"/"+store.TopicOf(stream))
		}
	}
	return hears
}

// share claims partitions and gives them back. It is for what was renewed: the
// others see in the lease for whom this process works.
func (l *lease) share(parent context.Context, working []*subscriber) error {
	ctx, cancel := context.WithTimeout(parent, l.t.cfg.LeaseTTL)
	defer cancel()
	living, err := l.living(ctx)
	if err != nil {
		return err
	}
	if err := l.endFrozen(ctx); err != nil && ctx.Err() == nil {
		l.t.cfg.Logger.Debug("left to the server's time limit", "error", err.Error())
	}
	var failures []error // one module's trouble is not the others'
	for _, s := range working {
		if !s.isStopping() {
			failures = append(failures, s.balance(ctx, living))
		}
	}
	return errors.Join(failures...)
}

// workers names the living processes that can work for a module on a topic.
type workers map[[2]string]map[uuid.UUID]bool

// living counts the living, and learns whether there is anybody else to tell
// what was committed here. Two versions of a module may hear different topics,
// so each topic's partitions are shared among those that hear it.
func (l *lease) living(ctx context.Context) (workers, error) {
	rows, err := l.db.QueryContext(ctx, `
		SELECT id, coalesce(heard, '') FROM nodes LEFT JOIN LATERAL unnest(subscriptions) AS heard ON true
		WHERE `+store.Living)
	if err != nil {
		return nil, fmt.Errorf("read the living: %w", err)
	}
	defer rows.Close()
	living := workers{}
	others := false
	for rows.Next() {
		var process uuid.UUID
		var heard string
		if err := rows.Scan(&process, &heard); err != nil {
			return nil, fmt.Errorf("read the living: %w", err)
		}
		others = others || process != l.t.process
		module, messageType, _ := strings.Cut(heard, "/")
		place := [2]string{module, l.t.topo.TopicOf(messageType)}
		if place[1] == "" {
			place[1] = messageType // a relay hears topics
		}
		if living[place] == nil {
			living[place] = map[uuid.UUID]bool{}
		}
		living[place][process] = true
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the living: %w", err)
	}
	l.t.notifier.alive(others)
	return living, nil
}

// balance makes what the tasks believe agree with the database, and then claims
// of each topic what is free up to this process's share, or gives back what is
// above it.
func (s *subscriber) balance(ctx context.Context, living workers) error {
	if err := s.reconcile(ctx); err != nil {
		return err
	}
	for topic, tasks := range s.tasks {
		n := max(len(living[[2]string{s.module, store.TopicOf(topic)}]), 1)
		share := (store.Partitions + n - 1) / n
		var mine []*task
		for p := range tasks {
			if claimed, release := s.queue.owns(&tasks[p]); claimed && !release {
				mine = append(mine, &tasks[p])
			}
		}
		for len(mine) > share {
			s.queue.giveUp(mine[len(mine)-1])
			mine = mine[:len(mine)-1]
		}
		if len(mine) < share {
			if err := s.claim(ctx, topic, share-len(mine)); err != nil {
				return err
			}
		}
	}
	return nil
}

// reconcile asks the database which partitions this process owns. The tasks may
// be wrong: the answer to a claim was lost, others took over while this process
// was stopped, or a task gave its partition back in the moment in which it was
// claimed again. A task that wrongly believes in owning a quiet partition would
// keep its place in the share, and a free partition would wait for ever.
func (s *subscriber) reconcile(ctx context.Context) error {
	rows, err := s.t.lease.db.QueryContext(ctx, `SELECT topic, partition FROM `+s.positions()+` WHERE subscriber = $1 AND node = $2`, s.module, s.t.process)
	if err != nil {
		return fmt.Errorf("read the partitions of %s: %w", s.module, err)
	}
	owned, err := s.scanTasks(rows)
	if err != nil {
		return fmt.Errorf("read the partitions of %s: %w", s.module, err)
	}
	for _, tasks := range s.tasks {
		for p := range tasks {
			t := &tasks[p]
			switch claimed, _ := s.queue.owns(t); {
			case claimed && !owned[t]:
				s.queue.lost(t)
			case !claimed && owned[t]:
				s.queue.claim(t)
			}
		}
	}
	return nil
}

// claim takes up to limit partitions of a topic that nobody living owns. A process that
// lives but no longer works for the subscriber (it is going down) counts as gone.
func (s *subscriber) claim(ctx context.Context, topic string, limit int) error {
	rows, err := s.t.lease.db.QueryContext(ctx, `
		WITH free AS (
			SELECT topic, partition FROM `+s.positions()+` p
			WHERE subscriber = $1 AND topic = $4 AND (node IS NULL OR node <> $2 AND NOT EXISTS (
				SELECT 1 FROM nodes l WHERE l.id = p.node AND `+store.Living+` AND p.subscriber = ANY(l.modules)))
			LIMIT $3 FOR UPDATE SKIP LOCKED)
		UPDATE `+s.positions()+` p SET node = $2 FROM free
		WHERE p.subscriber = $1 AND p.topic = free.topic AND p.partition = free.partition
		RETURNING p.topic, p.partition`, s.module, s.t.process, limit, topic)
	if err != nil {
		return fmt.Errorf("claim partitions of %s: %w", s.module, err)
	}
	claimed, err := s.scanTasks(rows)
	if err != nil {
		return fmt.Errorf("claim partitions of %s: %w", s.module, err) // the next turn finds out what was claimed
	}
	failpoint.Here("lease.claimed")
	for t := range claimed {
		s.queue.claim(t)
	}
	return nil
}

// positions is the table, for the lease's connections.
func (s *subscriber) positions() string { return pq.QuoteIdentifier(s.schema) + ".offsets" }

func (s *subscriber) scanTasks(rows *sql.Rows) (map[*task]bool, error) {
	defer rows.Close()
	found := map[*task]bool{}
	for rows.Next() {
		var topic string
		var partition int
		if err := rows.Scan(&topic, &partition); err != nil {
			return nil, err
		}
		if tasks := s.tasks[topic]; tasks != nil { // else: of a version that heard more
			found[&tasks[partition]] = true
		}
	}
	return found, rows.Err()
}

// owns reads what the task knows about its ownership.
func (q *readyQueue) owns(t *task) (claimed, release bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return t.claimed, t.release
}

// end gives the lease up, so that others take over at once.
func (l *lease) end(ctx context.Context) error {
	if _, err := l.db.ExecContext(ctx, `DELETE FROM nodes
		WHERE id = $1 OR expires_at < clock_timestamp() - interval '1 hour' OR expires_at > clock_timestamp() + interval '1 hour'`, l.t.process); err != nil {
		return fmt.Errorf("end the lease: %w", err)
	}
	failpoint.Here("shutdown.lease_ended")
	return nil
}

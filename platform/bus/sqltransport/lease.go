package sqltransport

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lib/pq"

	"millrace/platform/errs"
)

// lease keeps this process's row in bus.processes alive, and shares the
// partitions among the living. It is for efficiency and take-over only; safety
// is the compare-and-set of the position.
type lease struct {
	t       *Transport
	trigger chan struct{}
	renewed atomic.Pointer[time.Time]       // taken before the renewal was sent, so on the safe side
	known   atomic.Pointer[map[string]bool] // "subscriber/type" that newer versions hear
}

func newLease(t *Transport) *lease {
	l := &lease{t: t, trigger: make(chan struct{}, 1)}
	l.known.Store(&map[string]bool{})
	return l
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

// newer tells whether a newer version of the subscriber hears the type.
func (l *lease) newer(subscriber, messageType string) bool {
	return (*l.known.Load())[subscriber+"/"+messageType]
}

// loop renews, claims and gives back, twice per lease time, until ctx ends.
func (l *lease) loop(ctx context.Context) {
	tick := time.NewTicker(l.t.cfg.LeaseTTL / 2)
	defer tick.Stop()
	for {
		if err := l.turn(ctx); err != nil && ctx.Err() == nil {
			l.t.cfg.Logger.Warn("lease not renewed", "kind", errs.KindOf(err).String(), "error", err.Error())
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-l.trigger:
		}
	}
}

func (l *lease) turn(parent context.Context) error {
	ctx, cancel := context.WithTimeout(parent, l.t.cfg.LeaseTTL)
	defer cancel()
	before := time.Now()
	hosts, hears := []string{}, []string{}
	for _, s := range l.t.subscribers {
		if s.isStarted() && !s.isStopping() {
			hosts = append(hosts, s.module)
			for messageType := range s.channels {
				hears = append(hears, s.module+"/"+messageType)
			}
		}
	}
	slices.Sort(hosts)
	slices.Sort(hears)
	if _, err := l.t.db.ExecContext(ctx, `
		INSERT INTO processes (id, hosts, hears, expires_at) VALUES ($1, $2, $3, clock_timestamp() + $4 * interval '1 millisecond')
		ON CONFLICT (id) DO UPDATE SET hosts = excluded.hosts, hears = excluded.hears, expires_at = excluded.expires_at`,
		l.t.process, pq.Array(hosts), pq.Array(hears), l.t.cfg.LeaseTTL.Milliseconds()); err != nil {
		return fmt.Errorf("renew: %w", err)
	}
	l.renewed.Store(&before)
	living, err := l.living(ctx)
	if err != nil {
		return err
	}
	for _, s := range l.t.subscribers {
		if s.isStarted() && !s.isStopping() {
			if err := s.balance(ctx, living[s.module]); err != nil {
				return err
			}
		}
	}
	return nil
}

// living counts the living processes that host each module, and learns what
// newer versions of them hear: a type that another living process knows, or
// that was registered after this process started.
func (l *lease) living(ctx context.Context) (map[string]int, error) {
	rows, err := l.t.db.QueryContext(ctx, `
		SELECT id = $1, host, '' FROM processes, unnest(hosts) AS host WHERE expires_at > clock_timestamp()
		UNION ALL
		SELECT false, '', heard FROM processes, unnest(hears) AS heard WHERE expires_at > clock_timestamp() AND id <> $1
		UNION ALL
		SELECT false, '', subscriber || '/' || type FROM registrations WHERE since > (SELECT started_at FROM processes WHERE id = $1)`, l.t.process)
	if err != nil {
		return nil, fmt.Errorf("read the living: %w", err)
	}
	defer rows.Close()
	living, known := map[string]int{}, map[string]bool{}
	others := false
	for rows.Next() {
		var me bool
		var host, heard string
		if err := rows.Scan(&me, &host, &heard); err != nil {
			return nil, fmt.Errorf("read the living: %w", err)
		}
		if heard != "" {
			known[heard] = true
			continue
		}
		living[host]++
		others = others || !me
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the living: %w", err)
	}
	l.known.Store(&known)
	l.t.notifier.others.Store(others)
	return living, nil
}

// balance claims what is free up to this process's share, or gives back what
// is above it.
func (s *subscriber) balance(ctx context.Context, living int) error {
	total := Partitions * len(s.tasks)
	share := (total + max(living, 1) - 1) / max(living, 1)
	var mine []*task
	for _, tasks := range s.tasks {
		for p := range tasks {
			if claimed, release := s.queue.owns(&tasks[p]); claimed && !release {
				mine = append(mine, &tasks[p])
			}
		}
	}
	if len(mine) > share {
		for _, t := range mine[share:] {
			s.queue.giveUp(t)
		}
		return nil
	}
	if len(mine) == share {
		return nil
	}
	limit := share - len(mine)
	if s.unsure { // the last answer was lost: what the database says is mine, is mine
		limit = total
	}
	err := s.claim(ctx, limit)
	s.unsure = err != nil
	return err
}

// claim takes up to limit partitions that nobody living owns.
func (s *subscriber) claim(ctx context.Context, limit int) error {
	rows, err := s.db.QueryContext(ctx, `
		WITH free AS (
			SELECT topic, partition FROM positions p
			WHERE subscriber = $1 AND topic = ANY($4) AND (owner IS NULL OR owner = $2 AND $5 OR NOT EXISTS (
				SELECT 1 FROM bus.processes l WHERE l.id = p.owner AND l.expires_at > clock_timestamp()))
			LIMIT $3 FOR UPDATE SKIP LOCKED)
		UPDATE positions p SET owner = $2 FROM free
		WHERE p.subscriber = $1 AND p.topic = free.topic AND p.partition = free.partition
		RETURNING p.topic, p.partition`, s.module, s.t.process, limit, pq.Array(s.topics()), s.unsure)
	if err != nil {
		return fmt.Errorf("claim partitions of %s: %w", s.module, err)
	}
	defer rows.Close()
	for rows.Next() {
		var topic string
		var partition int
		if err := rows.Scan(&topic, &partition); err != nil {
			return fmt.Errorf("claim partitions of %s: %w", s.module, err)
		}
		s.queue.claim(&s.tasks[topic][partition])
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("claim partitions of %s: %w", s.module, err)
	}
	return nil
}

func (s *subscriber) topics() []string {
	topics := make([]string, 0, len(s.tasks))
	for topic := range s.tasks {
		topics = append(topics, topic)
	}
	slices.Sort(topics)
	return topics
}

// owns reads what the task knows about its ownership.
func (q *readyQueue) owns(t *task) (claimed, release bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return t.claimed, t.release
}

// end gives the lease up, so that others take over at once.
func (l *lease) end(ctx context.Context) error {
	if _, err := l.t.db.ExecContext(ctx, `DELETE FROM processes WHERE id = $1 OR expires_at < clock_timestamp() - interval '1 hour'`, l.t.process); err != nil {
		return fmt.Errorf("end the lease: %w", err)
	}
	return nil
}

package sqltransport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lib/pq"

	"millrace/platform/errs"
)

// reason is why a partition is paused.
type reason struct {
	name  string // "lock", else the SQLSTATE, else the kind: faults with one name have one line in the log
	since time.Time
	err   error
}

// logPause is the shortest time between two lines about pauses: a connection
// that breaks each moment does not fill the log.
const logPause = time.Second

// pauses are the partitions of a subscriber that are paused by a fault that is no
// message's. It logs when the first one is paused, when another reason joins, and
// when the last one goes on; and reports it (Transport.Paused).
type pauses struct {
	log *slog.Logger

	mu      sync.Mutex
	paused  map[*task]reason
	begun   time.Time // when the first of them was paused
	told    []string  // the reasons that were logged since then
	lastLog time.Time
}

func (p *pauses) began(t *task, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if len(p.paused) == 0 {
		p.begun, p.told = now, nil
	}
	why := reason{nameOf(err), now, err}
	if before, ok := p.paused[t]; ok && before.name == why.name {
		why.since = before.since
	}
	p.paused[t] = why
	if slices.Contains(p.told, why.name) || now.Sub(p.lastLog) < logPause {
		return
	}
	p.told, p.lastLog = append(p.told, why.name), now
	attributes := []any{"reason", why.name, "topic", t.topic, "partition", t.partition, "kind", errs.KindOf(err).String(), "error", err.Error()}
	level := slog.LevelWarn
	if help := errs.Help(err); help != "" { // it does not pass by itself
		level = slog.LevelError
		attributes = append(attributes, "help", help)
	}
	p.log.Log(context.Background(), level, "subscription paused", attributes...)
}

func (p *pauses) ended(t *task) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.paused[t]; !ok {
		return
	}
	delete(p.paused, t)
	if len(p.paused) == 0 && len(p.told) > 0 {
		p.log.Info("subscription resumed", "reasons", p.told, "after", time.Since(p.begun).Round(time.Millisecond))
	}
}

// locked reports whether a partition is paused for a lock.
func (p *pauses) locked() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, why := range p.paused {
		if why.name == lockReason {
			return true
		}
	}
	return false
}

const lockReason = "lock"

func nameOf(err error) string {
	if errs.Locked(err) {
		return lockReason
	}
	var pg *pq.Error
	if errors.As(err, &pg) {
		return string(pg.Code)
	}
	return errs.KindOf(err).String()
}

// Paused is nil while no subscription of this process is paused. Else it names
// those that are, and why: a lock that something else holds, a missing table or
// right, a database that is away. They go on by themselves when the fault is
// gone. The error knows since when (Since), and what may be shown to anybody
// (Public).
func (t *Transport) Paused() error {
	all := &pausedSubscriptions{}
	for _, s := range t.subscribers {
		s.pauses.report(s.module, all)
	}
	if len(all.lines) == 0 {
		return nil
	}
	slices.Sort(all.lines)
	return errs.As(errs.Resource, all)
}

// brief is how long a pause lasts at least before it is reported.
const brief = time.Second

func (p *pauses) report(subscriber string, all *pausedSubscriptions) {
	p.mu.Lock()
	defer p.mu.Unlock()
	partitions := map[string]int{}
	for _, why := range p.paused {
		if time.Since(why.since) < brief {
			continue
		}
		partitions[why.name]++
		if all.since.IsZero() || why.since.Before(all.since) {
			all.since, all.err = why.since, why.err
		}
	}
	for name, n := range partitions {
		all.lines = append(all.lines, fmt.Sprintf("%s: %d paused (%s)", subscriber, n, describe(name)))
	}
}

// describe puts the name of a reason in words.
func describe(name string) string {
	if name == lockReason {
		return "waits for a lock"
	}
	if kind := errs.OfSQLState(name); kind != errs.Unknown {
		return "SQLSTATE " + name
	}
	return name
}

// pausedSubscriptions is what Paused answers.
type pausedSubscriptions struct {
	since time.Time
	lines []string
	err   error // of the partition that has been paused for longest
}

func (p *pausedSubscriptions) Error() string    { return p.Public() + ": " + p.err.Error() }
func (p *pausedSubscriptions) Unwrap() error    { return p.err }
func (p *pausedSubscriptions) Since() time.Time { return p.since }

// Public names the subscriptions, how many partitions of each are paused, and why.
func (p *pausedSubscriptions) Public() string { return strings.Join(p.lines, ", ") }

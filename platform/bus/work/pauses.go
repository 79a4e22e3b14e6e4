package work

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

// Pauses are the partitions of a group that are paused by a fault that no message caused. It
// logs when the first one is paused, when another reason joins, and when the last one goes
// on; Paused reports it.
type Pauses struct {
	log *slog.Logger

	mu      sync.Mutex
	paused  map[*Partition]reason
	begun   time.Time // when the first of them was paused
	logged  []string  // the reasons that were logged since then
	lastLog time.Time
}

// reason is why a partition is paused.
type reason struct {
	name  string // "lock", else the SQLSTATE, else the kind: faults with one name have one line in the log
	since time.Time
	err   error
}

// logPause is the shortest time between two lines about pauses: a connection that breaks
// each moment does not fill the log.
const logPause = time.Second

func (s *Pauses) begin(p *Partition, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if len(s.paused) == 0 {
		s.begun, s.logged = now, nil
	}
	why := reason{nameOf(err), now, err}
	if before, ok := s.paused[p]; ok && before.name == why.name {
		why.since = before.since
	}
	s.paused[p] = why
	if slices.Contains(s.logged, why.name) || now.Sub(s.lastLog) < logPause {
		return
	}
	s.logged, s.lastLog = append(s.logged, why.name), now
	attributes := []any{"reason", why.name, "topic", p.Stream, "partition", p.Number, "kind", errs.KindOf(err).String(), "error", err.Error()}
	level := slog.LevelWarn
	if help := errs.Help(err); help != "" { // it does not pass by itself
		level = slog.LevelError
		attributes = append(attributes, "help", help)
	}
	s.log.Log(context.Background(), level, "subscription paused", attributes...)
}

// Resume records that a partition is not paused any more.
func (s *Pauses) Resume(p *Partition) {
	if p.failures == 0 {
		return
	}
	p.failures, p.lockTries = 0, 0
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.paused[p]; !ok {
		return
	}
	delete(s.paused, p)
	if len(s.paused) == 0 && len(s.logged) > 0 {
		s.log.Info("subscription resumed", "reasons", s.logged, "after", time.Since(s.begun).Round(time.Millisecond))
	}
}

// Locked reports whether a partition is paused for a lock.
func (s *Pauses) Locked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, why := range s.paused {
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

// Paused is nil while nothing is paused. Else it names the subscribers, how many of their
// partitions are paused, and why: a lock that something else holds, a missing table or right,
// a database that is away. They go on by themselves when the fault is gone. The error knows
// since when (Since), and what may be shown to anybody (Public).
func Paused(groups map[string]*Group) error {
	all := &pausedError{}
	for name, g := range groups {
		g.Pauses.report(name, all)
	}
	if len(all.lines) == 0 {
		return nil
	}
	slices.Sort(all.lines)
	return errs.As(errs.Resource, all)
}

// brief is how long a pause lasts at least before it is reported.
const brief = time.Second

func (s *Pauses) report(subscriber string, all *pausedError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	partitions := map[string]int{}
	for _, why := range s.paused {
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

// pausedError is the error of Paused.
type pausedError struct {
	since time.Time
	lines []string
	err   error // of the partition that has been paused for longest
}

func (e *pausedError) Error() string    { return e.Public() + ": " + e.err.Error() }
func (e *pausedError) Unwrap() error    { return e.err }
func (e *pausedError) Since() time.Time { return e.since }

// Public names the subscriptions, how many partitions of each are paused, and why.
func (e *pausedError) Public() string { return strings.Join(e.lines, ", ") }

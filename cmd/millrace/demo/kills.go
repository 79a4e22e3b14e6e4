package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"millrace/platform/errs"
)

// killer kills the serving child, or each of several, at moments that depend on the
// seed while orders run. A moment is a number of orders and consultations that have
// begun, and some milliseconds more.
type killer struct {
	victims []*child // killed in turn
	client  *client
	moments []moment
	print   func(format string, args ...any)

	done  atomic.Int64 // the number of kills so far
	mu    sync.Mutex
	begun map[int64]chan struct{} // number → closed when so many orders and consultations have begun
	last  time.Time               // the time of the last kill
}

type moment struct {
	begun  int64
	delay  time.Duration
	victim int // an index into victims, modulo their number
}

// plan draws the moments of the kills. The last sixth of the orders and consultations
// has no kill, so that every kill meets requests in flight.
func plan(seed int64, kills, parties int) ([]moment, error) {
	last := parties * 5 / 6
	if kills > last-1 {
		return nil, errs.New(errs.Invalid, "--kill %d needs more orders than there are: at most %d kills for %d orders and consultations", kills, max(last-1, 0), parties)
	}
	draw := rand.New(rand.NewPCG(uint64(seed), 0x6b696c6c))
	seen := map[int64]bool{}
	var all []moment
	for len(all) < kills {
		m := moment{begun: 2 + draw.Int64N(int64(last-1)), delay: time.Duration(draw.IntN(40)) * time.Millisecond, victim: len(all)}
		if !seen[m.begun] {
			seen[m.begun] = true
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(a, b moment) int { return int(a.begun - b.begun) })
	return all, nil
}

// before is called when an order or consultation begins. It delays those that are far
// behind a kill that has not happened yet, so that the kills are spread over the
// whole run even if restarts take long.
func (k *killer) before(ctx context.Context, begun int64) error {
	k.mu.Lock()
	if ch := k.begun[begun]; ch != nil {
		close(ch)
	}
	k.mu.Unlock()
	for {
		next := k.done.Load()
		if next >= int64(len(k.moments)) || begun <= k.moments[next].begun+clients {
			return nil
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
}

// run kills at each moment, and waits until the program is ready again.
func (k *killer) run(ctx context.Context) error {
	began := time.Now()
	for i, m := range k.moments {
		k.mu.Lock()
		ch := k.begun[m.begun]
		k.mu.Unlock()
		select {
		case <-ch:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := pause(ctx, m.delay); err != nil {
			return err
		}
		inFlight := k.client.inFlight.Load()
		for wait := 0; inFlight == 0 && wait < 5000; wait++ { // a kill must meet a request in flight
			if err := pause(ctx, 200*time.Microsecond); err != nil {
				return err
			}
			inFlight = k.client.inFlight.Load()
		}
		victim, whom := k.victims[m.victim%len(k.victims)], ""
		if victim.name != "" {
			whom = ", of " + victim.name + ","
		}
		if err := victim.kill(); err != nil {
			return err
		}
		k.print("kill -9 number %d%s after %.2f s, in the middle of %d requests; order or consultation %d had begun", i+1, whom, time.Since(began).Seconds(), inFlight, m.begun)
		if err := victim.ready(ctx); err != nil {
			return fmt.Errorf("after kill %d: %w", i+1, err)
		}
		k.mu.Lock()
		k.last = time.Now()
		k.mu.Unlock()
		k.done.Add(1)
	}
	return nil
}

// newKiller prepares the kills.
func newKiller(victims []*child, client *client, moments []moment) *killer {
	k := &killer{victims: victims, client: client, moments: moments, begun: map[int64]chan struct{}{}}
	for _, m := range moments {
		k.begun[m.begun] = make(chan struct{})
	}
	return k
}

func (k *killer) lastKill() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.last
}

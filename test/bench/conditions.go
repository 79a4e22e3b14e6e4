package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
	"sync"
	"time"
)

const (
	besideRate = 200
	besideName = "latency ms at 200/s, two subscribers, "
	steadyP99  = "median of each second's p99"
)

// blocked compares the other subscribers' latency with what it is undisturbed:
// while one subscriber's table is locked by somebody, and beside a transaction
// that has written in another database of the server and does nothing more.
// A round takes all of them in turn, undisturbed before and after the idle
// writer, so that a drift of the machine is in all; its bursts are in a few
// seconds, which the median of each second's p99 leaves out.
func blocked(ctx context.Context, r *run) error {
	for range max(1, r.scale.rounds/2) {
		if err := r.with(ctx, kindOurs, func(c contender, url string) error {
			return r.steady(ctx, c, besideRate, func(b *board, from int) error {
				phase := func(d time.Duration) (l besideLatencies, err error) {
					began := from
					if from, err = openLoop(ctx, c, b, from, besideRate, d, rand.Float64); err != nil {
						return l, err
					}
					pause(ctx, 300*time.Millisecond) // for what is late, but not for what is blocked
					return besideOf(b, began, from), nil
				}
				disturbed := func(what, url, statement string, d time.Duration) error {
					return holding(ctx, url, statement, func() error {
						l, err := phase(d)
						r.addBeside(what, l)
						return err
					})
				}
				before, err := phase(r.scale.besideFor)
				if err != nil {
					return err
				}
				if err := disturbed("beside an idle writing transaction", r.server.URL("postgres"), `SELECT pg_current_xact_id()`, 2*r.scale.besideFor); err != nil {
					return err
				}
				after, err := phase(r.scale.besideFor)
				if err != nil {
					return err
				}
				r.addBeside("undisturbed", before.and(after))
				return disturbed("the third is blocked", url, `LOCK TABLE `+c.effects()[0]+` IN ACCESS EXCLUSIVE MODE`, r.scale.blockedFor)
			})
		}); err != nil {
			return err
		}
		if err := r.with(ctx, kindStock, func(c contender, _ string) error {
			return r.steady(ctx, c, besideRate, func(b *board, from int) error {
				return holding(ctx, r.server.URL("postgres"), `SELECT pg_current_xact_id()`, func() error {
					to, err := openLoop(ctx, c, b, from, besideRate, 2*time.Second, rand.Float64)
					ms, missing := b.latencies(from, to, 1, 2)
					r.addLatencies(kindStock, besideName+"beside an idle writing transaction", ms, missing)
					return err
				})
			})
		}); err != nil {
			return err
		}
	}
	return nil
}

// besideLatencies are those of the two subscribers that nobody blocks.
type besideLatencies struct {
	ms      []float64
	p99s    []float64 // of each second
	missing int
}

func besideOf(b *board, from, to int) (l besideLatencies) {
	l.ms, l.missing = b.latencies(from, to, 1, 2)
	for second := from; second+besideRate <= to; second += besideRate {
		ms, _ := b.latencies(second, second+besideRate, 1, 2)
		l.p99s = append(l.p99s, percentile(ms, 99))
	}
	return l
}

func (l besideLatencies) and(more besideLatencies) besideLatencies {
	return besideLatencies{append(l.ms, more.ms...), append(l.p99s, more.p99s...), l.missing + more.missing}
}

func (r *run) addBeside(what string, l besideLatencies) {
	r.addLatencies(kindOurs, besideName+what, l.ms, l.missing)
	r.found.add(kindOurs.name, besideName+what+", "+steadyP99, median(l.p99s))
}

// holding runs f while a transaction is open that did a statement.
func holding(ctx context.Context, url, statement string, f func() error) error {
	db, err := sql.Open("postgres", url)
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // nothing is lost with it
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // it did nothing
	if _, err := tx.ExecContext(ctx, statement); err != nil {
		return err
	}
	return f()
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// idling is what a contender costs that has nothing to do.
func idling(ctx context.Context, r *run) error {
	for _, k := range []kind{kindOurs, kindStock, kindStockSlow, kindRiver, kindRiverTuned} {
		if isSlow(k) && !r.scale.slowPeers {
			continue
		}
		if err := r.with(ctx, k, func(c contender, _ string) error {
			return r.steady(ctx, c, 100, func(*board, int) error {
				pause(ctx, min(2*time.Second, r.scale.idleFor/2)) // what the warming up left to be done
				return r.idle(ctx, k)
			})
		}); err != nil {
			return err
		}
	}
	return r.topics(ctx)
}

// topics counts the connections of a process with 2 further topics, and with 22,
// that has published nothing: pools grow only when messages are published.
func (r *run) topics(ctx context.Context) error {
	for _, others := range []int{1, 11} {
		k := kind{kindOurs.name, openOurs(others)}
		if err := r.with(ctx, k, func(c contender, _ string) error {
			if err := c.start(ctx, behaviour{observer: newBoard(1)}); err != nil {
				return err
			}
			pause(ctx, time.Second)
			connections, err := r.server.connections(ctx)
			r.found.add(k.name, fmt.Sprintf("connections, nothing published yet, %d topics more", 2*others), connections)
			return errors.Join(err, c.stop())
		}); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) idle(ctx context.Context, k kind) error {
	read := func() (figures [3]float64, err error) {
		if figures[0], err = r.server.transactions(ctx); err != nil {
			return figures, err
		}
		if figures[1], err = r.server.walBytes(ctx); err != nil {
			return figures, err
		}
		theirs, own := r.server.cpu()
		figures[2] = theirs + own
		return figures, nil
	}
	before, err := read()
	if err != nil {
		return err
	}
	started := time.Now()
	pause(ctx, r.scale.idleFor)
	after, err := read()
	if err != nil {
		return err
	}
	seconds := time.Since(started).Seconds()
	r.found.add(k.name, "idle, transaction ids/s", (after[0]-before[0])/seconds)
	r.found.add(k.name, "idle, WAL kB/s", (after[1]-before[1])/seconds/1e3)
	r.found.add(k.name, "idle, CPU % of one core, with the server", (after[2]-before[2])/seconds*100)
	connections, err := r.server.connections(ctx)
	r.found.add(k.name, "idle, connections", connections)
	return err
}

// backlog drains 100,000, and 1,000,000 if asked, watching the memory.
func backlog(ctx context.Context, r *run) error {
	sizes := []int{r.scale.drain}
	if r.options.million {
		sizes = append(sizes, 1_000_000)
	}
	for _, size := range sizes {
		if size == 0 {
			continue // not in a quick run
		}
		if err := r.with(ctx, kindOurs, func(c contender, url string) error {
			watching, end := context.WithCancel(ctx)
			peak := peakHeap(watching)
			observed, err := r.handle(ctx, c, url, size, behaviour{}, 30*time.Minute, unwatched)
			end()
			if err != nil {
				return err
			}
			r.found.add(kindOurs.name, fmt.Sprintf("handled/s, backlog of %d", size), observed.rate())
			r.found.add(kindOurs.name, fmt.Sprintf("peak heap MB, backlog of %d", size), peak()/1e6)
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// peakHeap watches the heap in bytes until ctx ends; the function returned waits for that.
func peakHeap(ctx context.Context) func() float64 { return peakOf(ctx, heapBytes) }

// peakOf is likewise the largest value that it saw.
func peakOf(ctx context.Context, value func() float64) func() float64 {
	var peak float64
	var watching sync.WaitGroup
	watching.Go(func() {
		look := time.NewTicker(50 * time.Millisecond)
		defer look.Stop()
		for {
			peak = max(peak, value())
			select {
			case <-look.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() float64 { watching.Wait(); return peak }
}

func heapBytes() float64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// liveBytes is what the last garbage collection found alive: the heap may grow to
// twice that before the next.
func liveBytes() float64 {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	return float64(live[0].Value.Uint64())
}

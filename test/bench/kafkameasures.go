package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"regexp"
	"runtime/debug"
	"strconv"
	"time"
)

const (
	relayName         = "Kafka, relay rows/s"
	kafkaHandledName  = "Kafka, handled/s, 3 groups"
	besideHandledName = "Kafka, handled/s, 3 groups, on PostgreSQL beside it"
	wholeName         = ", from the start to the last effect"
	kafkaLatencyName  = "Kafka, "
	peakHeapName      = ", peak heap MB"
	peakLiveName      = ", most alive after a garbage collection MB"
	peakResidentName  = ", peak resident memory MB"
)

// relayer is a contender whose way to the brokers can run without anybody who
// handles.
type relayer interface {
	contender
	relay(ctx context.Context) (sent func() int64, stop func() error, err error)
	topic() string
}

func (k *kafka) ours() kind { return kind{kindOurs.name, openOursKafka(k)} }
func (k *kafka) stock(poll time.Duration) kind {
	if poll == pollFast {
		return kind{kindStock.name, openStockKafka(k, poll)}
	}
	return kind{kindStockSlow.name, openStockKafka(k, poll)}
}

// relaying counts rows that the brokers confirmed, per second, from a backlog.
// The topics are read back: each row once, those of a key in order.
func relaying(ctx context.Context, r *run) error {
	return r.onBrokers(ctx, func(k *kafka) error {
		for round := range r.scale.kafkaRounds {
			once := func(kind kind, rows int) func() error {
				return func() error {
					return r.with(ctx, kind, func(c contender, _ string) error {
						rate, err := r.relayRate(ctx, k, c.(relayer), rows, round == 0 && kind.name == kindOurs.name)
						if err == nil {
							r.found.add(kind.name, relayName, rate)
						}
						return err
					})
				}
			}
			if err := r.turns([]func() error{once(k.ours(), r.scale.relayRows), once(k.stock(pollDefault), r.scale.relayRows/16)}); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *run) relayRate(ctx context.Context, k *kafka, c relayer, rows int, watched bool) (float64, error) {
	if err := fill(ctx, c, rows); err != nil {
		return 0, fmt.Errorf("backlog: %w", err)
	}
	if err := r.server.settle(ctx); err != nil {
		return 0, err
	}
	end := func() {}
	if watched {
		var err error
		if end, err = r.profile(ctx); err != nil {
			return 0, err
		}
	}
	sent, stop, err := c.relay(ctx)
	if err != nil {
		return 0, err
	}
	counts, err := watchCount(ctx, sent, int64(rows), time.Minute)
	end()
	if err := errors.Join(err, stop()); err != nil {
		return 0, err
	}
	return counts.rate(), k.checkTopic(c.topic(), rows)
}

// watchCount looks at a count until it reaches want. The rate is that of a
// board: from 5 to 95 %.
func watchCount(ctx context.Context, count func() int64, want int64, limit time.Duration) (*board, error) {
	b := newTally(0)
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		n := count()
		if len(b.marks) == 0 || b.marks[len(b.marks)-1].count != n {
			b.marks = append(b.marks, mark{n, time.Since(b.start)})
			b.count.Store(n)
		}
		if n >= want {
			return b, nil
		}
		select {
		case <-look.C:
		case <-timer.C:
			return nil, fmt.Errorf("%d of %d rows were sent in %s", n, want, limit)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// carrying is the latency from commit to effect through the brokers.
func carrying(ctx context.Context, r *run) error {
	return r.onBrokers(ctx, func(k *kafka) error {
		for range r.scale.kafkaRounds {
			kinds := []kind{k.ours(), k.stock(pollFast)}
			if r.scale.slowPeers {
				kinds = append(kinds, k.stock(pollDefault))
			}
			var jobs []func() error
			for _, kind := range kinds {
				jobs = append(jobs, func() error {
					return r.with(ctx, kind, func(c contender, url string) error {
						rates := []int{100}
						if kind.name == kindOurs.name && r.scale.slowPeers {
							rates = append(rates, 500)
						}
						if err := r.atRates(ctx, kind, c, kafkaLatencyName, rates); err != nil {
							return err
						}
						return onceInOrder(ctx, c, url)
					})
				})
			}
			if err := r.turns(jobs); err != nil {
				return err
			}
		}
		return nil
	})
}

// handlingKafka counts effects per second from a backlog that has to be sent,
// received and handled, beside the same work without brokers.
func handlingKafka(ctx context.Context, r *run) error {
	return r.onBrokers(ctx, func(k *kafka) error {
		for round := range r.scale.kafkaRounds {
			once := func(kind kind, name string, payments int) func() error {
				return func() error {
					return r.with(ctx, kind, func(c contender, url string) error {
						watch := unwatched
						if round == 0 && kind.name == kindOurs.name && name == kafkaHandledName && len(r.options.only) == 1 {
							watch = func() (func(), error) { return r.profile(ctx) }
						}
						observed, err := r.handle(ctx, c, url, max(400, int(float64(payments)*r.scale.backlog)), behaviour{}, max(10*time.Second, 2*r.scale.handleLimit), watch)
						if err != nil {
							return err
						}
						r.addHandled(kind, name, observed)
						return onceInOrder(ctx, c, url)
					})
				}
			}
			if err := r.turns([]func() error{
				once(kindOurs, besideHandledName, 24_000), once(k.ours(), kafkaHandledName, 24_000), once(k.stock(pollFast), kafkaHandledName, 4_000),
			}); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *run) addHandled(k kind, name string, observed *board) {
	r.found.add(k.name, name, observed.rate())
	if whole := observed.whole(); whole > 0 {
		r.found.add(k.name, name+wholeName, whole)
	}
	if n := float64(observed.count.Load()); n > 0 {
		r.found.add(k.name, name+", CPU µs per effect, client and server", (observed.server+observed.client)*1e6/n)
	}
}

// onceInOrder makes sure that a group has each payment once, and those of a key
// in the order in which they were published: their ids grow.
func onceInOrder(ctx context.Context, c contender, url string) error {
	db, err := sql.Open("postgres", url)
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // nothing is lost with it
	for _, table := range c.effects() {
		var all, wrong int
		if err := db.QueryRowContext(ctx, `SELECT count(*), count(*) FILTER (WHERE payment_id <= before) FROM (
			SELECT payment_id, lag(payment_id) OVER (PARTITION BY order_key ORDER BY id) AS before FROM `+table+`) AS e`).Scan(&all, &wrong); err != nil {
			return err
		}
		if wrong > 0 {
			return fmt.Errorf("%s: %d of %d effects came after a later one of their key, or twice", table, wrong, all)
		}
	}
	return nil
}

// backlogKafka sends, receives and handles a large backlog (a small one in a
// quick run), and one that is ten times as large if asked, watching the memory.
func backlogKafka(ctx context.Context, r *run) error {
	return r.onBrokers(ctx, func(k *kafka) error {
		for _, size := range r.scale.kafkaDrain {
			if size == 0 {
				continue
			}
			if size < 100_000 {
				r.found.note(fmt.Sprintf("Kafka, backlog: a quick run has %d messages and not 100,000", size))
			}
			if err := r.with(ctx, k.ours(), func(c contender, url string) error { return r.drainKafka(ctx, k, c, url, size) }); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *run) drainKafka(ctx context.Context, k *kafka, c contender, url string, size int) error {
	watching, end := context.WithCancel(ctx)
	defer end()
	var heap, alive, rss func() float64
	observed, err := r.handle(ctx, c, url, size, behaviour{}, 40*time.Minute, func() (func(), error) {
		debug.FreeOSMemory() // what the filling took
		heap, alive, rss = peakHeap(watching), peakOf(watching, liveBytes), peakOf(watching, residentMB)
		return end, nil
	})
	if err != nil {
		return err
	}
	name := kafkaBacklogName(size)
	r.found.add(kindOurs.name, name, observed.rate())
	r.found.add(kindOurs.name, name+wholeName, observed.whole())
	r.found.add(kindOurs.name, name+peakHeapName, heap()/1e6)
	r.found.add(kindOurs.name, name+peakLiveName, alive()/1e6)
	r.found.add(kindOurs.name, name+peakResidentName, rss())
	return onceInOrder(ctx, c, url)
}

func kafkaBacklogName(size int) string { return fmt.Sprintf("Kafka, handled/s, backlog of %d", size) }

var resident = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

// residentMB is this process's memory as the system sees it; 0 where it does not report it.
func residentMB() float64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	found := resident.FindSubmatch(text)
	if found == nil {
		return 0
	}
	kb, _ := strconv.ParseFloat(string(found[1]), 64) // digits
	return kb / 1e3
}

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/pprof"
	"strconv"
	"sync/atomic"
	"time"
)

// measure is one thing that is measured, of all contenders that have it.
type measure struct {
	name string
	take func(ctx context.Context, r *run) error
}

func measures() []measure {
	return []measure{
		{"publish", publishing}, {"handled", handling}, {"latency", latency}, {"failures", failing},
		{"hotrows", fighting}, {"processes", processes}, {"payments", paying}, {"blocked", blocked}, {"idle", idling}, {"backlog", backlog},
		{"kafka-relay", relaying}, {"kafka-latency", carrying}, {"kafka-handled", handlingKafka}, {"kafka-backlog", backlogKafka},
	}
}

func measureNames() []string {
	var names []string
	for _, m := range measures() {
		names = append(names, m.name)
	}
	return names
}

func publishName(clients int) string { return "publish tx/s, " + strconv.Itoa(clients) + " clients" }

// publishing counts transactions that insert a payment and publish it.
func publishing(ctx context.Context, r *run) error {
	for range r.rounds {
		var jobs []func() error
		for _, k := range []kind{kindOurs, kindStock, kindRiver} {
			jobs = append(jobs, func() error {
				return r.with(ctx, k, func(c contender, _ string) error {
					for _, clients := range []int{1, 8, 32} {
						rate, err := r.publishRate(ctx, c, clients)
						if err != nil {
							return err
						}
						r.found.add(k.name, publishName(clients), rate)
					}
					return nil
				})
			})
		}
		for _, clients := range []int{1, 8, 32} {
			jobs = append(jobs, func() error {
				four, _, err := r.floor(ctx, floorPublish4, clients)
				if err != nil {
					return err
				}
				r.found.add("floor", publishName(clients)+", 4 round trips", four)
				one, _, err := r.floor(ctx, floorPublish1, clients)
				r.found.add("floor", publishName(clients)+", one statement", one)
				return err
			})
		}
		if err := r.turns(jobs); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) publishRate(ctx context.Context, c contender, clients int) (float64, error) {
	var seq, done atomic.Int64
	// The first transactions open connections and prepare.
	if err := together(clients, func(int) error { return c.publish(ctx, []payment{newPayment(int(seq.Add(1)))}) }); err != nil {
		return 0, err
	}
	if err := r.server.settle(ctx); err != nil {
		return 0, err
	}
	started := time.Now()
	err := together(clients, func(int) error {
		for time.Since(started) < r.scale.publishFor {
			if err := c.publish(ctx, []payment{newPayment(int(seq.Add(1)))}); err != nil {
				return err
			}
			done.Add(1)
		}
		return nil
	})
	return float64(done.Load()) / time.Since(started).Seconds(), err
}

func floorName(clients int) string {
	return "handled/s, one statement, " + strconv.Itoa(clients) + " clients"
}

const (
	handledName = "handled/s, 3 groups"
	cpuName     = "CPU µs per effect, client and server"
)

// backlogs are sized so that each contender works for some seconds.
var backlogs = map[string]int{kindOurs.name: 24_000, kindOursAlone.name: 12_000, kindStock.name: 8_000, kindStockSlow.name: 8_000, kindRiver.name: 3_000, kindRiverTuned.name: 12_000}

func (r *run) backlogOf(k kind) int { return max(400, int(float64(backlogs[k.name])*r.scale.backlog)) }

// handling counts effects per second from a backlog.
func handling(ctx context.Context, r *run) error {
	for round := range r.rounds {
		var jobs []func() error
		for _, k := range []kind{kindOurs, kindStock, kindStockSlow, kindRiver, kindRiverTuned} {
			jobs = append(jobs, func() error { return r.handleOnce(ctx, k, handledName, behaviour{}, round == 0) })
		}
		for _, clients := range []int{1, 8, 32} {
			jobs = append(jobs, func() error {
				rate, cpu, err := r.floor(ctx, floorHandle, clients)
				r.found.add("floor", floorName(clients), rate)
				if clients == 8 {
					r.found.add("floor", cpuName, cpu)
				}
				return err
			})
		}
		if err := r.turns(jobs); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) handleOnce(ctx context.Context, k kind, name string, b behaviour, profiled bool) error {
	return r.with(ctx, k, func(c contender, url string) error {
		watch := unwatched
		if profiled && k.name == kindOurs.name {
			watch = func() (func(), error) { return r.profile(ctx) }
		}
		limit := r.scale.handleLimit
		if b.hot {
			limit *= 2 // it begins with deadlocks, which the server finds after a second
		}
		observed, err := r.handle(ctx, c, url, r.backlogOf(k), b, limit, watch)
		if err != nil {
			return err
		}
		r.found.add(k.name, name, observed.rate())
		n := float64(observed.count.Load())
		switch {
		case n == 0:
		case name == handledName:
			r.found.add(k.name, cpuName, (observed.server+observed.client)*1e6/n)
			r.found.add(k.name, "CPU µs per effect, server", observed.server*1e6/n)
			r.found.add(k.name, "CPU µs per effect, client", observed.client*1e6/n)
		default:
			r.found.add(k.name, cpuName+", "+name, (observed.server+observed.client)*1e6/n)
		}
		return nil
	})
}

func unwatched() (func(), error) { return func() {}, nil }

// profile starts what the options ask for; the function returned ends and shows it.
func (r *run) profile(ctx context.Context) (func(), error) {
	end := func() {}
	if r.options.cpuprofile != "" {
		file, err := os.Create(r.options.cpuprofile)
		if err != nil {
			return nil, err
		}
		if err := pprof.StartCPUProfile(file); err != nil {
			return nil, errors.Join(err, file.Close())
		}
		end = func() {
			pprof.StopCPUProfile()
			_ = file.Close() // a profile that is short is noticed by its reader
		}
	}
	if r.options.statements {
		if _, err := r.server.admin.ExecContext(ctx, `SELECT pg_stat_statements_reset()`); err != nil {
			end()
			return nil, err
		}
	}
	return func() {
		end()
		if r.options.statements {
			r.showStatements(ctx)
		}
	}, nil
}

// showStatements prints where the server's time went.
func (r *run) showStatements(ctx context.Context) {
	rows, err := r.server.admin.QueryContext(ctx, `SELECT calls, total_exec_time, mean_exec_time, rows, regexp_replace(left(query, 110), '\s+', ' ', 'g')
		FROM pg_stat_statements ORDER BY total_exec_time DESC LIMIT 25`)
	if err != nil {
		fmt.Fprintln(r.log, "statements:", err)
		return
	}
	defer rows.Close() //nolint:errcheck // shown below
	fmt.Fprintf(r.log, "%8s %10s %9s %8s  statement\n", "calls", "total ms", "mean ms", "rows")
	for rows.Next() {
		var calls, affected int64
		var total, mean float64
		var text string
		if err := rows.Scan(&calls, &total, &mean, &affected, &text); err != nil {
			fmt.Fprintln(r.log, "statements:", err)
			return
		}
		fmt.Fprintf(r.log, "%8d %10.1f %9.3f %8d  %s\n", calls, total, mean, affected, text)
	}
	if err := rows.Err(); err != nil {
		fmt.Fprintln(r.log, "statements:", err)
	}
}

const plainName = "handled/s beside failures, none fails"
const failingName = "handled/s, 1 % fail once"

// failing lets 1 % of the payments fail once in each group.
func failing(ctx context.Context, r *run) error {
	for round := range r.rounds {
		if err := r.turns([]func() error{
			func() error { return r.handleOnce(ctx, kindOurs, plainName, behaviour{}, false) },
			func() error {
				return r.handleOnce(ctx, kindOurs, failingName, behaviour{failEvery: 100}, round == 0 && len(r.options.only) == 1)
			},
		}); err != nil {
			return err
		}
	}
	return nil
}

const hotName = "handled/s, handlers fight for ten rows"

// fighting lets every handler update one of ten rows of its group.
func fighting(ctx context.Context, r *run) error {
	for range r.rounds {
		var jobs []func() error
		for _, k := range []kind{kindOurs, kindOursAlone, kindStock, kindRiverTuned} {
			jobs = append(jobs, func() error { return r.handleOnce(ctx, k, hotName, behaviour{hot: true}, false) })
		}
		jobs = append(jobs, func() error {
			rate, _, err := r.floor(ctx, floorHandleHot, 3)
			r.found.add("floor", hotName+", one statement, one group, 3 clients", rate)
			return err
		})
		if err := r.turns(jobs); err != nil {
			return err
		}
	}
	return nil
}

// latency is commit → effect at rising rates, open loop. A contender that does
// not hold a rate starts the next one with what it left.
func latency(ctx context.Context, r *run) error {
	for range r.rounds {
		var jobs []func() error
		for _, k := range []kind{kindOurs, kindStock, kindStockSlow, kindRiver, kindRiverTuned} {
			rates := []int{100, 500, 1000}
			switch {
			case r.scale.slowPeers || k.name == kindOurs.name:
			case isSlow(k):
				continue
			default:
				rates = rates[:2]
			}
			jobs = append(jobs, func() error {
				return r.with(ctx, k, func(c contender, _ string) error { return r.atRates(ctx, k, c, "", rates) })
			})
		}
		if err := r.turns(jobs); err != nil {
			return err
		}
	}
	return nil
}

// isSlow reports whether the contender polls or fetches rarely by default.
func isSlow(k kind) bool { return k.name == kindStockSlow.name || k.name == kindRiver.name }

// What --cpuprofile and --statements look at, with --only latency or kafka-latency.
const (
	profiledRate      = 500
	profiledKafkaRate = 100
)

const warm = 500 * time.Millisecond

// atRates runs a contender at the rates and adds the percentiles of all groups,
// under names that begin with what is given.
func (r *run) atRates(ctx context.Context, k kind, c contender, named string, rates []int) error {
	profiled, warming := profiledRate, warm
	if named != "" {
		profiled, warming = profiledKafkaRate, 3*warm // the broker's code is compiled while it runs
	}
	return r.steadyAfter(ctx, c, warming, rates[0], func(b *board, from int) error {
		for _, rate := range rates {
			watch := unwatched
			if k.name == kindOurs.name && len(r.options.only) == 1 && rate == profiled {
				watch = func() (func(), error) { return r.profile(ctx) }
			}
			stop, err := watch()
			if err != nil {
				return err
			}
			server, client := r.server.cpu()
			started := time.Now()
			to, err := openLoop(ctx, c, b, from, rate, r.scale.rateFor, rand.Float64)
			if err != nil {
				return err
			}
			r.awaitEffects(ctx, b, to)
			took := time.Since(started)
			stop()
			serverAfter, clientAfter := r.server.cpu()
			r.found.add(k.name, named+fmt.Sprintf("at %d/s, CPU %% of one core, server", rate), 100*(serverAfter-server)/took.Seconds())
			r.found.add(k.name, named+fmt.Sprintf("at %d/s, CPU %% of one core, client", rate), 100*(clientAfter-client)/took.Seconds())
			ms, missing := b.latencies(from, to, 0, 1, 2)
			r.addLatencies(k, named+fmt.Sprintf("latency ms at %d/s", rate), ms, missing)
			from = to
		}
		return nil
	})
}

// steady starts a contender, warms it up at the rate and hands over from there.
func (r *run) steady(ctx context.Context, c contender, rate int, f func(b *board, from int) error) error {
	return r.steadyAfter(ctx, c, warm, rate, f)
}

func (r *run) steadyAfter(ctx context.Context, c contender, warming time.Duration, rate int, f func(b *board, from int) error) error {
	b := newBoard(100_000) // more than all phases take together
	if err := r.server.settle(ctx); err != nil {
		return err
	}
	if err := c.start(ctx, behaviour{observer: b}); err != nil {
		return err
	}
	from, err := openLoop(ctx, c, b, 0, rate, warming, rand.Float64)
	if err == nil {
		r.awaitEffects(ctx, b, from)
		err = f(b, from)
	}
	if stopErr := c.stop(); err == nil {
		err = stopErr
	}
	return err
}

// awaitEffects waits a little for the effects of all payments before to.
func (r *run) awaitEffects(ctx context.Context, b *board, to int) {
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for limit := time.Now().Add(2 * time.Second); time.Now().Before(limit) && ctx.Err() == nil; <-look.C {
		if b.count.Load() >= int64(to*len(groups)) {
			return
		}
	}
}

func (r *run) addLatencies(k kind, name string, ms []float64, missing int) {
	if missing > 0 {
		r.found.note(fmt.Sprintf("%s does not hold %s: %d of %d effects were not there 2 s after the last commit", k.name, name, missing, missing+len(ms)))
	}
	for _, p := range []float64{50, 95, 99, 99.9} {
		r.found.add(k.name, fmt.Sprintf("%s, p%v", name, p), percentile(ms, p))
	}
}

package model

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lib/pq"
	"pgregory.net/rapid"

	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/platform/postgres"
	"millrace/platform/postgres/pgtest"
	"millrace/test/conformance"
)

// patience bounds every wait.
const patience = 2 * time.Minute

// Run runs random programs. It calls the factory for each process of a program,
// with a different address of the same database.
func Run(t *testing.T, world conformance.Factory) {
	admin, err := postgres.Open(t.Context(), postgres.Config{URL: pgtest.URL(t), MaxConns: 1, Application: "model"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close() })
	template := prepare(t, world)
	name := template[strings.LastIndex(template, "/")+1:]
	name, _, _ = strings.Cut(name, "?")
	made := 0
	rapid.Check(t, func(rt *rapid.T) {
		program := programs.Draw(rt, "program")
		made++
		mine := fmt.Sprintf("%s_%d", name, made)
		statement := func(text string) {
			if _, err := admin.ExecContext(t.Context(), text); err != nil {
				rt.Fatalf("%s: %v", text, err)
			}
		}
		statement(`CREATE DATABASE ` + pq.QuoteIdentifier(mine) + ` TEMPLATE ` + pq.QuoteIdentifier(name))
		defer statement(`DROP DATABASE ` + pq.QuoteIdentifier(mine) + ` WITH (FORCE)`)
		play(rt, strings.Replace(template, "/"+name, "/"+mine, 1), world, program)
	})
}

// prepare makes the template database; each program gets a copy.
func prepare(t *testing.T, world conformance.Factory) (url string) {
	url = pgtest.URL(t)
	topo, err := version{Noted: true, Late: true}.topology(nil)
	if err == nil {
		err = world(url).Migrate(t.Context(), topo)
	}
	if err != nil {
		t.Fatal(err)
	}
	db, err := openPlan(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), tables); err != nil {
		t.Fatal(err)
	}
	return url
}

// runner runs one program.
type runner struct {
	t       *rapid.T
	url     string
	world   conformance.Factory
	sql     *sql.DB
	model   *expectation
	version version
	front   *process   // publishes everything
	workers []*process // handle everything
	remains sync.WaitGroup
	last    int // number of the newest message

	repeated bool // the shop's events were delivered again
}

func play(rt *rapid.T, url string, world conformance.Factory, program []step) {
	r := &runner{t: rt, url: url, world: world, model: newExpectation()}
	var err error
	r.sql, err = openPlan(context.Background(), url)
	r.must(err)
	defer r.close()
	r.front = r.open(r.version, []string{"shop", "till"})
	r.begin(false)
	for i, s := range program {
		rt.Logf("%d: %s", i, s)
		r.step(s)
	}
	r.check()
}

func (r *runner) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatalf("%v", err)
	}
}

// close ends all remaining processes, also of a program that failed.
func (r *runner) close() {
	for _, p := range append(r.workers, r.front) {
		if p != nil {
			r.kill(p)
		}
	}
	r.remains.Wait()
	_ = r.sql.Close()
}

func (r *runner) step(s step) {
	switch s.Do {
	case "publish", "publishAndCut":
		r.publish(s.Txs, s.Do == "publishAndCut")
	case "begin":
		if len(r.workers) < 3 {
			r.begin(s.Flag)
		}
	case "end", "cut", "kill":
		r.lose(s)
	case "hang":
		r.hang(s.Which % len(r.workers))
	case "late":
		if !r.version.Late {
			r.addLate()
		}
	case "addType":
		if !r.version.Noted && !r.repeated { // after a redelivery it is unknown which copy the subscriber has reached
			before := len(r.model.entries["shop.events"])
			r.version.Noted = true
			r.model.subscribers["store"].types["noted"] = reach{0, before}
			r.begin(s.Flag)
		}
	case "repeat":
		module := map[bool]string{true: "shop", false: "till"}[s.Flag]
		r.early()
		r.must(r.world(r.url).Repeat(context.Background(), module))
		r.model.repeat(module + ".events")
		r.repeated = r.repeated || s.Flag
	case "retry", "discard":
		r.decide(s)
	case "settle":
		r.settled()
	}
}

// early records which messages of the added type the store has handled, of those
// published before it was added. After a redelivery this could not be seen any more.
func (r *runner) early() {
	store := r.model.subscribers["store"]
	if store.early == nil && store.types["noted"].certain > 0 {
		r.settled()
		_, store.early = r.happened("store")
	}
}

// begin starts another worker of the newest version, as a real process or not.
func (r *runner) begin(real bool) {
	if real {
		r.workers = append(r.workers, r.spawn(r.version))
		return
	}
	r.workers = append(r.workers, r.open(r.version, r.version.hosts()))
}

// lose shuts a worker down or kills it, and starts another if it was the last.
func (r *runner) lose(s step) {
	at := s.Which % len(r.workers)
	if s.Do == "kill" && r.workers[at].cmd == nil {
		r.begin(true)
		at = len(r.workers) - 1
	}
	p := r.workers[at]
	r.workers = append(r.workers[:at], r.workers[at+1:]...)
	if s.Do == "end" {
		r.end(p)
	} else {
		r.kill(p)
	}
	if len(r.workers) == 0 {
		r.begin(false)
	}
}

// hang stalls a worker for longer than its lease, so that another takes over.
func (r *runner) hang(at int) {
	p := r.workers[at]
	if p.line == nil {
		return
	}
	if len(r.workers) == 1 {
		r.begin(false)
	}
	p.line.hold()
	<-time.After(3 * lease) // longer than the lease
	p.line.goOn()
}

// current shuts down the workers of older versions: otherwise messages of a type
// that only the newest version handles could stay parked.
func (r *runner) current() {
	var kept []*process
	for _, p := range r.workers {
		if p.version == r.version {
			kept = append(kept, p)
		} else {
			r.end(p)
		}
	}
	r.workers = kept
	if len(kept) == 0 {
		r.begin(false)
	}
}

// addLate adds the subscriber late after the first events were published.
func (r *runner) addLate() {
	r.version.Late = true
	r.begin(false)
	r.model.subscribers["late"] = &subscriber{
		types: map[string]reach{"paid": {}, "noted": {}},
		fails: map[int]bool{}, discarded: map[int]bool{},
	}
	for n, f := range r.laterFails() {
		r.model.subscribers["late"].fails[n] = f
	}
}

// laterFails are the messages that always fail at the late subscriber.
func (r *runner) laterFails() map[int]bool {
	rows, err := r.sql.QueryContext(context.Background(), `SELECT n FROM public.plan WHERE subscriber = 'late' AND fails > 1000`)
	r.must(err)
	defer rows.Close()
	all := map[int]bool{}
	for rows.Next() {
		var n int
		r.must(rows.Scan(&n))
		all[n] = true
	}
	r.must(rows.Err())
	return all
}

// publish runs the transactions concurrently. If cut, it also kills the front
// meanwhile, and looks up afterwards which transactions committed. It reports
// whether all of them committed.
func (r *runner) publish(txs []transaction, cut bool) (all bool) {
	bodies := make([][]body, len(txs))
	for i, tx := range txs {
		for _, m := range tx.Messages {
			r.last++
			bodies[i] = append(bodies[i], body{keys[m.Key], r.last})
			r.plan("store", r.last, m.Store)
			r.plan("late", r.last, m.Late)
		}
	}
	results := make([]error, len(txs))
	var running sync.WaitGroup
	for i, tx := range txs {
		running.Go(func() { results[i] = r.transact(tx, bodies[i]) })
	}
	if cut {
		r.kill(r.front)
	}
	running.Wait()
	if cut {
		r.front = r.open(r.version, []string{"shop", "till"})
	}
	all = true
	for i, tx := range txs {
		if !r.committed(tx, bodies[i], results[i], cut) {
			all = false
			continue
		}
		for j, b := range bodies[i] {
			r.model.commit(b, tx.Messages[j].Kind)
		}
	}
	return all
}

var errBack = errors.New("rolled back")

func (r *runner) transact(tx transaction, bodies []body) error {
	return r.front.opened.DB(publisherOf(tx.Messages[0].Kind)).InTx(context.Background(), func(t *bus.Tx) error {
		for i, b := range bodies {
			if _, err := t.ExecContext(context.Background(), `INSERT INTO book VALUES ($1)`, b.N); err != nil {
				return err
			}
			if err := publish(t, tx.Messages[i].Kind, b); err != nil {
				return err
			}
		}
		if tx.Back {
			return errBack
		}
		return nil
	})
}

// committed reports whether a transaction committed. If its connection was lost, it
// looks into the table book, in which each transaction inserts a row for each of
// its messages. A connection may be lost without a cut, too: if a slow process's
// lease expires, others end its transactions.
func (r *runner) committed(tx transaction, bodies []body, result error, lost bool) bool {
	switch {
	case result == nil:
		return true
	case errors.Is(result, errBack):
		return false
	case !lost && errs.KindOf(result) != errs.Resource:
		r.must(result)
	}
	var found bool
	r.must(r.sql.QueryRowContext(context.Background(), `SELECT EXISTS (SELECT 1 FROM `+publisherOf(tx.Messages[0].Kind)+`.book WHERE n = $1)`, bodies[0].N).Scan(&found))
	return found
}

func (r *runner) plan(subscriber string, n int, f failing) {
	if f.Times == 0 {
		return
	}
	times := f.Times
	if times < 0 {
		times = 1 << 30
		if s := r.model.subscribers[subscriber]; s != nil {
			s.fails[n] = true
		}
	}
	_, err := r.sql.ExecContext(context.Background(), `INSERT INTO public.plan VALUES ($1, $2, $3, $4)`, subscriber, n, times, f.Way)
	r.must(err)
}

// wait waits until wrong returns an empty string.
func (r *runner) wait(wrong func() string) {
	r.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		what := wrong()
		if what == "" {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("still, after %s:\n%s", patience, what)
		}
	}
}

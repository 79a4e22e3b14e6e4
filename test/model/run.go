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

// Run plays programs. The factory is called for each process of a program, with
// another address of the same database.
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

// prepare makes the database of which each program gets a copy.
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

// runner plays one program.
type runner struct {
	t       *rapid.T
	url     string
	world   conformance.Factory
	sql     *sql.DB
	model   *expectation
	version version
	front   *process   // says everything
	workers []*process // hear everything
	remains sync.WaitGroup
	moments []moment
	last    int // number of a message

	repeated bool // what the shop had said
}

// moment is a time between two steps, and how much had been said by the shop.
type moment struct {
	at   time.Time
	said int
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

// close ends whatever is left, also of a program that failed.
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
	case "say", "sayAndCut":
		r.say(s.Txs, s.Do == "sayAndCut")
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
			r.addLate(s.Which, s.Flag)
		}
	case "addType":
		if !r.version.Noted && !r.repeated { // of what was repeated nobody could tell which copy it has come to
			before := len(r.model.entries["shop.events"])
			r.version.Noted = true
			r.model.ears["store"].hears["noted"] = reach{0, before}
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

// early finds out what the store has come to of the type that was added, if
// some of that was said before. A repetition would hide it.
func (r *runner) early() {
	store := r.model.ears["store"]
	if store.early == nil && store.hears["noted"].certain > 0 {
		r.settled()
		_, store.early = r.happened("store")
	}
}

// begin starts another worker of the newest version.
func (r *runner) begin(real bool) {
	if real {
		r.workers = append(r.workers, r.spawn(r.version))
		return
	}
	r.workers = append(r.workers, r.open(r.version, r.version.hosts()))
}

// lose ends a worker, well or not, and sees to it that there is another.
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

// hang stops a worker for longer than its lease; another takes over.
func (r *runner) hang(at int) {
	p := r.workers[at]
	if p.line == nil {
		return
	}
	if len(r.workers) == 1 {
		r.begin(false)
	}
	p.line.hold()
	<-time.After(3 * lease) // so long it lasts
	p.line.goOn()
}

// current ends the workers of older versions: they would hold what only the
// newest one knows for ever.
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

// addLate adds the subscriber: from the first event, a moment, or now.
func (r *runner) addLate(which int, some bool) {
	said := len(r.model.entries["shop.events"])
	start := 0
	r.version.Late = true
	switch {
	case which == 0:
	case some && len(r.moments) > 0:
		m := r.moments[which%len(r.moments)]
		r.version.From, start = m.at, m.said
	default:
		r.version.From, start = bus.Now, said
	}
	r.begin(false)
	r.model.ears["late"] = &ear{
		hears: map[string]reach{"paid": {start, start}, "noted": {start, start}},
		fails: map[int]bool{}, discarded: map[int]bool{},
	}
	for n, f := range r.laterFails() {
		r.model.ears["late"].fails[n] = f
	}
}

// laterFails are the messages at which the late subscriber is to fail for ever.
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

// say has the transactions at the same time. If the front's line is cut
// meanwhile, nobody knows what committed before somebody has looked. It tells
// whether all of them did.
func (r *runner) say(txs []transaction, cut bool) (said bool) {
	var now time.Time
	r.must(r.sql.QueryRowContext(context.Background(), `SELECT clock_timestamp()`).Scan(&now))
	r.moments = append(r.moments, moment{now, len(r.model.entries["shop.events"])})
	bodies := make([][]body, len(txs))
	for i, tx := range txs {
		for _, w := range tx.Words {
			r.last++
			bodies[i] = append(bodies[i], body{keys[w.Key], r.last})
			r.plan("store", r.last, w.Store)
			r.plan("late", r.last, w.Late)
		}
	}
	results := make([]error, len(txs))
	var all sync.WaitGroup
	for i, tx := range txs {
		all.Go(func() { results[i] = r.transact(tx, bodies[i]) })
	}
	if cut {
		r.kill(r.front)
	}
	all.Wait()
	if cut {
		r.front = r.open(r.version, []string{"shop", "till"})
	}
	said = true
	for i, tx := range txs {
		if !r.committed(tx, bodies[i], results[i], cut) {
			said = false
			continue
		}
		for j, b := range bodies[i] {
			r.model.commit(b, tx.Words[j].Kind)
		}
	}
	return said
}

var errBack = errors.New("rolled back")

func (r *runner) transact(tx transaction, bodies []body) error {
	return r.front.opened.DB(speaker(tx.Words[0].Kind)).InTx(context.Background(), func(t *bus.Tx) error {
		for i, b := range bodies {
			if _, err := t.ExecContext(context.Background(), `INSERT INTO book VALUES ($1)`, b.N); err != nil {
				return err
			}
			if err := say(t, tx.Words[i].Kind, b); err != nil {
				return err
			}
		}
		if tx.Back {
			return errBack
		}
		return nil
	})
}

// committed tells whether a transaction did. If its connection was lost the
// table tells, in which each has a row for each message: also where nobody cut
// it, since others end the transactions of a process that is so slow that its
// lease runs out.
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
	r.must(r.sql.QueryRowContext(context.Background(), `SELECT EXISTS (SELECT 1 FROM `+speaker(tx.Words[0].Kind)+`.book WHERE n = $1)`, bodies[0].N).Scan(&found))
	return found
}

func (r *runner) plan(subscriber string, n int, f failing) {
	if f.Times == 0 {
		return
	}
	times := f.Times
	if times < 0 {
		times = 1 << 30
		if s := r.model.ears[subscriber]; s != nil {
			s.fails[n] = true
		}
	}
	_, err := r.sql.ExecContext(context.Background(), `INSERT INTO public.plan VALUES ($1, $2, $3, $4)`, subscriber, n, times, f.Way)
	r.must(err)
}

// wait waits until nothing is wrong any more.
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

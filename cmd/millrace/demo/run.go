package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace/cmd/millrace/app"
	"millrace/cmd/millrace/terminal"
	"millrace/config"
	"millrace/modules/payment/gateway"
	"millrace/modules/payment/gateway/simulator"
	"millrace/platform/errs"
)

// Options are what to play and where to print.
type Options struct {
	Orders  string // path of an orders file; "": the embedded one
	Count   int    // number of orders; 0: all of the file
	Seed    int64  // seed of the gateway's behaviour and of the moments of the kills
	Kills   int    // number of kills of each serving process
	Split   bool   // serve each module from its own process and database
	Version string // the program's version
	Config  config.Config
	Out     *terminal.Printer // the report
	Bar     io.Writer         // the progress bar

	Calm  bool                               // play the steps of an order or consultation strictly one after another, see settled
	Begin func(context.Context, Scene) error // called before the first request, unless nil
	End   func(context.Context, Scene) error // called when all checks passed, before anything is closed
}

// Result is the outcome of a run, measured from the evidence.
type Result struct {
	OK            bool     `json:"ok"`
	Orders        int      `json:"orders"`   // number in the input
	Payments      int64    `json:"payments"` // in the database, for orders and deposits
	Consultations int64    `json:"consultations"`
	Cards         int64    `json:"cards"`
	Events        int64    `json:"events"`  // in all event logs
	Handled       int64    `json:"handled"` // rows of all inboxes
	Lost          int64    `json:"lost"`
	Doubled       int      `json:"doubled"` // effects that happened more than once
	Kills         int64    `json:"kills"`
	Seconds       float64  `json:"seconds"`
	Failed        []string `json:"failed,omitempty"` // the names of the failed checks
}

// enough orders meet every misbehaviour of the gateway. Misbehaviours of refunds also
// need enough refunds.
const (
	enoughOrders  = 200
	enoughRefunds = 60
)

// Run plays and checks. The error is nil only if every check passed.
func Run(ctx context.Context, o Options) (result Result, err error) {
	began := time.Now()
	orders, err := loadOrders(o.Orders, o.Count)
	if err != nil {
		o.Out.Printf("Nothing was imported.\n")
		return result, err
	}
	consultations, err := loadConsultations(share(len(orders)))
	if err != nil {
		return result, err
	}
	parties := len(orders) + len(consultations)
	kills := o.Kills
	if o.Split {
		kills *= len(app.Modules())
	}
	moments, err := plan(o.Seed, kills, parties)
	if err != nil {
		return result, err
	}
	o.Out.Printf("%d orders and %d consultations, seed %d\n", len(orders), len(consultations), o.Seed)
	s, err := setStage(ctx, o.Config, o.Seed, parties, o.Split)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	before := slog.Default()
	slog.SetDefault(s.log) // the serving side logs to serve.log, not to this command's output
	defer slog.SetDefault(before)

	if o.Calm {
		s.waitForTheGateway(calmGatewayTimeout)
	}
	r := &running{Options: o, stage: s}
	if err := r.serve(ctx, moments); err != nil {
		return result, err
	}
	defer func() {
		if stopped := r.program.Stop(); err == nil && stopped != nil { // report the first error
			result.OK, err = false, stopped
		}
	}()
	o.Out.Printf("messages travel through %s\n", s.travels())
	if o.Split {
		o.Out.Printf("%d processes, one for each module, with a database each; the checks look into a copy of all\n", len(s.parts))
	}
	o.Out.Printf("serving at %s, log in %s, after %.1f s\n", r.program.URL(), s.logPath(), time.Since(began).Seconds())
	if err := s.show(ctx, o.Begin); err != nil {
		return result, err
	}
	if err := r.playAll(ctx, orders, consultations); err != nil {
		if ctx.Err() != nil {
			return result, errs.New(errs.Shutdown, "interrupted: nothing was proved")
		}
		result, err = r.giveUp(orders, consultations, err)
		result.Seconds = float64(time.Since(began).Milliseconds()) / 1000
		return result, fmt.Errorf("%w (the server's log is %s)", err, s.logPath())
	}
	if result, err = r.check(ctx, orders, consultations); err == nil {
		err = s.show(ctx, o.End)
	}
	result.Seconds = float64(time.Since(began).Milliseconds()) / 1000
	return result, err
}

// running is a run whose program serves.
type running struct {
	Options
	stage   *stage
	program serving
	client  *client
	killer  *killer // nil without kills
}

// serve starts the program, and makes the simulator send callbacks only to it.
func (r *running) serve(ctx context.Context, moments []moment) error {
	if err := r.start(ctx, moments); err != nil {
		return err
	}
	r.stage.simulator.CallBackTo(r.program.URL() + "/callbacks/gateway")
	return nil
}

func (r *running) start(ctx context.Context, moments []moment) error {
	if r.Split {
		program, err := serveSplit(ctx, r.stage, r.Version, r.stage.log)
		if err != nil {
			return err
		}
		r.program, r.client = program, newClient(program.URL())
		if len(moments) > 0 {
			r.killer = newKiller(program.children, r.client, moments)
		}
		return nil
	}
	if len(moments) == 0 {
		program, err := serveHere(ctx, r.stage.serving, r.Version, r.stage.log)
		if err != nil {
			return err
		}
		r.program, r.client = program, newClient(program.URL())
		return nil
	}
	address, err := freePort()
	if err != nil {
		return err
	}
	serving := r.stage.serving
	serving.HTTP.Address = address
	program, err := serveChild(ctx, serving, r.stage.logFile)
	if err != nil {
		return err
	}
	r.program, r.client = program, newClient(program.URL())
	r.killer = newKiller([]*child{program}, r.client, moments)
	return nil
}

// playAll sends all input, kills meanwhile, and waits until no work is left.
func (r *running) playAll(ctx context.Context, orders []order, consultations []consultation) error {
	began := time.Now()
	show := newProgress(r.Bar, "orders and consultations", len(orders)+len(consultations))
	moving := movementOf(r.stage.looking, r.stage.topo.Modules())
	r.client.stalled = moving.stalled
	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { moving.run(watching) })
	defer func() { stop(); watch.Wait() }()
	p := &play{client: r.client, moving: moving, done: func() { show.Add(1) }, before: func(context.Context, int64) error { return nil }}
	if r.Calm {
		p.settled = r.stage.settled
		for range consultations {
			p.turns = append(p.turns, make(chan struct{}))
		}
	}
	if r.killer != nil {
		p.before, r.killer.print = r.killer.before, show.Print
	}
	work, playing := errgroup.WithContext(ctx)
	over := make(chan struct{})
	work.Go(func() error {
		defer close(over)
		return p.run(playing, orders, consultations)
	})
	if r.killer != nil {
		work.Go(func() error { return r.killer.run(playing) })
	}
	work.Go(func() error {
		select {
		case <-r.program.Ended():
			return errs.New(errs.Unknown, "the program ended by itself")
		case <-over:
			return nil
		}
	})
	err := work.Wait()
	show.Done()
	if err != nil {
		return err
	}
	r.Out.Printf("everything is in after %.1f s; %d requests had to be repeated\n", time.Since(began).Seconds(), r.client.again.Load())
	lastFault := time.Now()
	if r.killer != nil && r.killer.lastKill().After(lastFault) {
		lastFault = r.killer.lastKill()
	}
	show = newProgress(r.Bar, "seconds since the last fault, waiting for quiet:", int(settleWithin/time.Second))
	after, err := r.stage.waitUntilQuiet(ctx, r.program.Ended(), lastFault, moving, show)
	show.Note("")
	show.Done()
	if err == nil {
		r.Out.Printf("quiet after %.1f s, %.1f s after the last fault\n", time.Since(began).Seconds(), after.Seconds())
	}
	return err
}

// check runs all checks and prints the report.
func (r *running) check(ctx context.Context, orders []order, consultations []consultation) (result Result, err error) {
	s := r.stage
	outside := &callbacks{
		target: r.program.URL() + "/callbacks/gateway", secret: gateway.Secret(s.serving.Payment.Secrets[0].Reveal()), book: s.simulator.Book(),
		hash: func(ctx context.Context) (hashes map[string]string, err error) {
			err = s.snapshot(ctx, func(tx looker) error {
				hashes, err = businessHash(ctx, tx, s.topo.Modules())
				return err
			})
			return hashes, err
		},
	}
	refused, err := outside.refused(ctx)
	if err != nil {
		return result, err
	}
	repeated, err := outside.repeated(ctx)
	if err != nil {
		return result, err
	}
	e := r.evidence(orders, consultations)
	var findings []finding
	err = s.snapshot(ctx, func(tx looker) error {
		e.db = tx
		if e.tallies, err = takeTally(ctx, tx, s.topo); err != nil {
			return err
		}
		if findings, err = look(ctx, e); err != nil {
			return err
		}
		result, err = measure(ctx, e)
		return err
	})
	if err != nil {
		return result, err
	}
	liveness := slices.IndexFunc(findings, func(f finding) bool { return f.Name == "L1" })
	findings = slices.Insert(findings, liveness, refused, repeated) // in the order of the list of promises: safety, then liveness
	if len(orders) >= enoughOrders {
		findings = append(findings, gatewayMisbehaved(e.book))
	}
	if r.killer != nil {
		result.Kills = r.killer.done.Load()
	}
	result.Orders = len(orders)
	for _, f := range findings {
		if len(f.Offenders) > 0 {
			result.Failed = append(result.Failed, f.Name)
		}
	}
	if err := r.report(ctx, e, findings); err != nil {
		return result, err
	}
	if result.OK = len(result.Failed) == 0; !result.OK {
		return result, errs.New(errs.Unknown, "these do not hold: %s; the server's log is %s", strings.Join(result.Failed, ", "), s.logPath())
	}
	return result, nil
}

// giveUp prints as much as is known about a run that could not be completed, with the
// timeline of the order at fault, and returns why.
func (r *running) giveUp(orders []order, consultations []consultation, why error) (result Result, err error) {
	const longest = 2 * time.Minute
	ctx, cancel := context.WithTimeout(context.Background(), longest) // the context of the run may have ended
	defer cancel()
	r.Out.Printf("\ngiven up: %s\nThis is how it was then; what was still on its way is found missing.\n", why)
	e := r.evidence(orders, consultations)
	var findings []finding
	err = r.stage.snapshot(ctx, func(tx looker) error {
		e.db = tx
		if e.tallies, err = takeTally(ctx, tx, e.topo); err != nil {
			return err
		}
		printTallies(r.Out, e.tallies)
		if findings, err = look(ctx, e); err != nil {
			return err
		}
		result, err = measure(ctx, e)
		return err
	})
	result.Orders = len(orders)
	if r.killer != nil {
		result.Kills = r.killer.done.Load()
	}
	if err == nil {
		printMisbehaviours(r.Out, e.book.Misbehaviours)
		var party *partyError
		key := ""
		if errors.As(why, &party) {
			key = party.key
		}
		err = r.printTimeline(ctx, key)
	}
	if err != nil {
		return result, fmt.Errorf("%w; and the state could not be read: %w", why, err)
	}
	for _, f := range findings {
		if len(f.Offenders) > 0 {
			result.Failed = append(result.Failed, f.Name)
		}
	}
	printFindings(r.Out, findings)
	return result, why
}

// evidence is everything that the checks read, except for the tables.
func (r *running) evidence(orders []order, consultations []consultation) *evidence {
	e := &evidence{topo: r.stage.topo, book: r.stage.simulator.Book(), mails: r.stage.inbox.Messages(), consultations: len(consultations), files: r.stage.serving.DataPlatform.Dir}
	for _, o := range orders {
		e.orders = append(e.orders, o.Key)
	}
	return e
}

// measure computes the numbers of the result from the database.
func measure(ctx context.Context, e *evidence) (r Result, err error) {
	err = e.db.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM payment.payments), (SELECT count(*) FROM consultation.consultation),
		(SELECT count(*) FROM inquiry.entry WHERE card IS NOT NULL), (SELECT count(*) FROM (`+logs(e.topo.Modules())+`) l)`).
		Scan(&r.Payments, &r.Consultations, &r.Cards, &r.Events)
	if err != nil {
		return r, err
	}
	for _, t := range e.tallies {
		r.Handled += t.Handled
		r.Lost += t.Lost
	}
	doubled, err := doubledEffects(ctx, e)
	r.Doubled = len(doubled)
	return r, err
}

// gatewayMisbehaved finds misbehaviours of the gateway that never happened, which the
// run therefore did not test.
func gatewayMisbehaved(book simulator.Book) finding {
	f := finding{Name: "GW", Promise: "the simulated gateway misbehaved in every way that it can, at least once, or surviving it was not tested"}
	expected := simulator.ChargeMisbehaviours
	if len(book.Refunds) >= enoughRefunds {
		expected = slices.Concat(expected, simulator.RefundMisbehaviours)
	}
	for _, name := range expected {
		if book.Misbehaviours[name] == 0 {
			f.Offenders = append(f.Offenders, name+" never happened: take another --seed")
		}
	}
	return f
}

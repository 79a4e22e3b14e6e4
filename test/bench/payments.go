package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"millrace/modules/payment/gateway"
)

// payer takes callbacks and does what follows from them, until it is stopped.
type payer interface {
	callback(ctx context.Context, r gateway.Result, webhook string) error
	stop() error
}

// openPayer makes the payments that callbacks will come for; done is called
// after each of the four effects of a payment: the delivery, the notification,
// and the data platform's records of the payment and of the delivery.
type openPayer func(ctx context.Context, url string, payments int, done func(seq int)) (payer, error)

const (
	payEffects = 4
	payClients = 16  // connections of the gateway
	payWindow  = 300 // payments that are under way at the peak
)

const (
	payName      = "payments/s, callback to last effect"
	payCPU       = "payments, CPU µs of each, "
	callbackName = "payments at half of the peak, callback ms, "
	effectName   = "payments at half of the peak, answer to last effect ms, "
)

// flow is the payments of one contender on their way.
type flow struct {
	payer
	url      string
	client   *http.Client
	effects  []atomic.Int32
	finished []atomic.Int64 // nanoseconds since began; 0 is not yet
	answered []atomic.Int64
	count    atomic.Int64
	began    time.Time
	slots    chan struct{}
}

func (f *flow) done(seq int) {
	if f.effects[seq].Add(1) != payEffects {
		return
	}
	f.finished[seq].Store(int64(time.Since(f.began)))
	f.count.Add(1)
	select {
	case <-f.slots:
	default: // at a rate nobody counts them
	}
}

var paySecret = []byte("the gateway's and ours")

// ServeHTTP takes a callback as the product does: signed, then decoded.
func (f *flow) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, gateway.MaxCallback))
	id := r.Header.Get(gateway.HeaderID)
	if err == nil {
		err = gateway.Verify([][]byte{paySecret}, id, r.Header.Get(gateway.HeaderTimestamp), r.Header.Get(gateway.HeaderSignature), body, time.Now())
	}
	var answer gateway.Result
	if err == nil {
		answer, err = gateway.Decode(body)
	}
	if err == nil {
		err = f.callback(r.Context(), answer, id)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// call is the gateway's side; it returns how long the answer took.
func (f *flow) call(ctx context.Context, seq int) (time.Duration, error) {
	body, err := json.Marshal(result(seq))
	if err != nil {
		return 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	id, now := "callback-"+strconv.Itoa(seq), time.Now()
	request.Header.Set(gateway.HeaderID, id)
	request.Header.Set(gateway.HeaderTimestamp, strconv.FormatInt(now.Unix(), 10))
	request.Header.Set(gateway.HeaderSignature, gateway.Sign(paySecret, id, now, body))
	response, err := f.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close() //nolint:errcheck // read whole
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusNoContent {
		return 0, errors.Join(err, fmt.Errorf("callback %s: %s %s", id, response.Status, answer))
	}
	f.answered[seq].Store(int64(time.Since(f.began)))
	return time.Since(now), nil
}

// fillPayments creates the tables in the four schemas, and payments that wait.
func fillPayments(ctx context.Context, db *sql.DB, payments int) error {
	_, err := db.ExecContext(ctx, fmt.Sprintf(createPayTables, payments))
	return err
}

// paying measures what the product is for, ours and on stock parts.
func paying(ctx context.Context, r *run) error {
	for range r.rounds {
		jobs := []func() error{func() error { return r.pay(ctx, kindOurs, openOursPay) }}
		if !r.options.ours {
			jobs = append(jobs, func() error { return r.pay(ctx, kindStock, openStockPay) })
		}
		if err := r.turns(jobs); err != nil {
			return err
		}
	}
	return nil
}

// pay finds a contender's peak, lets it finish, and measures at half of that.
func (r *run) pay(ctx context.Context, k kind, open openPayer) (err error) {
	url, drop, err := r.server.database(ctx)
	if err != nil {
		return err
	}
	defer drop()
	payments := int(r.scale.payFor.Seconds()*3000) + payWindow // more than anybody manages in both phases
	f := &flow{began: time.Now(), slots: make(chan struct{}, payWindow), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}},
		effects: make([]atomic.Int32, payments), finished: make([]atomic.Int64, payments), answered: make([]atomic.Int64, payments)}
	if f.payer, err = open(ctx, url, payments, f.done); err != nil {
		return fmt.Errorf("%s: %w", k.name, err)
	}
	defer func() { err = errors.Join(err, f.stop()) }()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: f, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(listener) //nolint:errcheck // ends by the Close below
	defer func() { f.client.CloseIdleConnections(); err = errors.Join(err, server.Close()) }()
	f.url = "http://" + listener.Addr().String()
	if err := r.server.settle(ctx); err != nil {
		return err
	}
	to, peak, err := r.payPeak(ctx, k, f)
	if err != nil {
		return fmt.Errorf("%s: %w", k.name, err)
	}
	if to, err = r.payHalf(ctx, k, f, to, min(int(peak/2), (payments-to)/int(r.scale.payFor.Seconds()))); err != nil {
		return fmt.Errorf("%s: %w", k.name, err)
	}
	return payCounted(ctx, url, to)
}

// payPeak has 16 clients call as fast as they are answered while fewer than 300
// payments are under way, and counts what is finished meanwhile, from a quarter
// of the time on. Processor time is that of all of them, to the last effect.
func (r *run) payPeak(ctx context.Context, k kind, f *flow) (to int, rate float64, err error) {
	watch := unwatched
	if k.name == kindOurs.name && len(r.options.only) == 1 {
		watch = func() (func(), error) { return r.profile(ctx) }
	}
	stop, err := watch()
	if err != nil {
		return 0, 0, err
	}
	var next atomic.Int64
	started := time.Now()
	server, client := r.server.cpu()
	var warm, warmAt atomic.Int64
	mark := time.AfterFunc(r.scale.payFor/4, func() { warm.Store(f.count.Load()); warmAt.Store(int64(time.Since(started))) })
	defer mark.Stop()
	err = together(payClients, func(int) error {
		for {
			wait := time.NewTimer(r.scale.payFor - time.Since(started))
			select {
			case f.slots <- struct{}{}:
				wait.Stop()
			case <-wait.C:
				return nil
			}
			seq := int(next.Add(1)) - 1
			if _, err := f.call(ctx, seq); err != nil {
				return err
			}
		}
	})
	counted := f.count.Load()
	took := time.Since(started)
	stop()
	if err != nil {
		return 0, 0, err
	}
	rate = float64(counted-warm.Load()) / (took - time.Duration(warmAt.Load())).Seconds()
	r.found.add(k.name, payName, rate)
	to = int(next.Load())
	if err := f.drained(ctx, to); err != nil {
		return to, rate, err
	}
	serverAfter, clientAfter := r.server.cpu()
	each := 1e6 / float64(max(to, 1))
	r.found.add(k.name, payCPU+"server", (serverAfter-server)*each)
	r.found.add(k.name, payCPU+"process with its gateway", (clientAfter-client)*each)
	return to, rate, nil
}

// payHalf calls at a rate, at random moments, whatever the answers.
func (r *run) payHalf(ctx context.Context, k kind, f *flow, from, perSecond int) (to int, err error) {
	to = from + int(r.scale.payFor.Seconds()*float64(perSecond))
	took := make([]float64, to-from)
	interval := time.Second / time.Duration(max(perSecond, 1))
	started := time.Now()
	var working sync.WaitGroup
	failed := make([]error, to-from)
	for i := range took {
		pause(ctx, time.Until(started.Add(time.Duration((float64(i)+rand.Float64())*float64(interval)))))
		working.Go(func() {
			var d time.Duration
			d, failed[i] = f.call(ctx, from+i)
			took[i] = float64(d) / 1e6
		})
	}
	working.Wait()
	if err := errors.Join(failed...); err != nil {
		return to, err
	}
	if err := f.drained(ctx, to); err != nil {
		return to, err
	}
	var effects []float64
	for seq := from; seq < to; seq++ {
		effects = append(effects, max(0, float64(f.finished[seq].Load()-f.answered[seq].Load())/1e6))
	}
	r.found.add(k.name, "payments at half of the peak, callbacks/s", float64(perSecond))
	for _, p := range []float64{50, 99} {
		r.found.add(k.name, fmt.Sprintf("%sp%v", callbackName, p), percentile(took, p))
		r.found.add(k.name, fmt.Sprintf("%sp%v", effectName, p), percentile(effects, p))
	}
	return to, nil
}

// drained waits until all payments before to are finished.
func (f *flow) drained(ctx context.Context, to int) error {
	return until(ctx, time.Minute, fmt.Sprintf("%d payments were finished", to), func() (bool, error) { return f.count.Load() >= int64(to), nil })
}

// payCounted makes sure that each callback had each effect once.
func payCounted(ctx context.Context, url string, payments int) error {
	db, err := sql.Open("postgres", url)
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // nothing is lost with it
	var counts [4]float64
	if err := db.QueryRowContext(ctx, payCounts).Scan(&counts[0], &counts[1], &counts[2], &counts[3]); err != nil {
		return err
	}
	for _, n := range counts {
		if n != float64(payments) {
			return fmt.Errorf("%d callbacks left %v payments, deliveries, notifications, pairs of records", payments, counts)
		}
	}
	return nil
}

// Package simulator is a payment gateway that misbehaves on purpose, for
// development, demonstrations and tests only. It is an HTTP server on loopback and
// moves no money.
//
// # Behaviour
//
//   - POST /charges and POST /refunds implement the protocol of package gateway.
//     A repeated Idempotency-Key refers to the same charge, which is never made
//     twice; with a different body it is refused with 422.
//   - GET /charges/<transaction key> and GET /refunds/<refund id> look up a charge
//     or refund. They return 404 charge_not_found or refund_not_found if it was
//     never accepted.
//   - POST /dashboard/cancel {"transactionKey", "amount", "status"} acts like the
//     provider's dashboard: it returns captured money without a refund request of
//     the client, and sends a callback. status is optional, see
//     [Simulator.Cancel].
//   - Callbacks are signed by gateway.Sign. Each is retried with back-off (100 ms,
//     doubling, at most 2 s) until it gets a 2xx or a final refusal (a 4xx other
//     than 408, 425 and 429), for Config.GiveUp at most. A receiver that restarts
//     within that time loses no callback.
//   - The treatment of a charge is [PlanFor] of the seed, the order key and the
//     number of the order's charge, and depends on nothing else: the same orders
//     get the same treatment in every run. Only the timing is random.
//   - GET /book returns the book as JSON, GET / as an HTML page.
//
// # Shares
//
// Of all charges 10 % are declined. Independently, of the first responses 8 % are
// a 503 without a charge, 7.2 % never arrive although the charge was made, 9 %
// arrive after the callback, and 15 % have the final result at once.
// Independently, of the callbacks 8 % are late, 10 % doubled, 9 % out of order,
// 9 % preceded by a forged one and 9 % by one with a wrong amount. Of the refunds,
// 15 % get a 503 first and 15 % a time-out that hides a success. So for about one
// seed in a million, 200 orders miss one of the charges' misbehaviours.
//
// # Access
//
// The simulator accepts requests for a loopback host only. A POST must be
// application/json. It rejects requests from pages of other sites, including other
// ports of this machine and pages without an Origin, and its pages cannot be
// framed. Requests and connections are limited.
//
// Callbacks are sent to Config.CallbackURL, whatever a charge requests. Without it,
// as in tests, they are sent to the charge's own address on loopback. Any process
// on this machine can make the simulator sign a result. Its secret must therefore
// be used by nothing else ([KeptSecret]), and the receiver must accept it from a
// simulator only.
//
// # Limits
//
// The book holds at most Config.Keep charges, and as many refunds. The oldest
// charges whose callbacks are finished are deleted first; their keys are then
// unknown. If no charge is final, new ones are refused (503). Lengths are those of
// the contract (gateway.Charge.Check).
//
// The book is in memory, unless Config.File stores it. Then a later process knows
// the charges and refunds of an earlier one and repeats callbacks that were not
// accepted. A kill loses the last second (with a large book, twenty times the
// duration of a write). A power failure may lose the file.
//
// There are no accounts, and an order may be charged any number of times: to
// charge it once is the client's responsibility, which the book makes verifiable.
package simulator

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"millrace/modules/payment/gateway"
	"millrace/platform/loopback"
	"millrace/platform/web"
)

// Config configures a simulator. A zero field has its default.
type Config struct {
	Seed        uint64
	Address     string        // where to listen, loopback only; default "127.0.0.1:0"
	Secret      string        // signs callbacks; required, as gateway.Secret reads it
	OldSecret   string        // signs callbacks, too, if set: the first signature during a rotation
	CallbackURL string        // where all results are sent; default: what CallBackTo sets, else the charge's own URL, on loopback only
	Late        time.Duration // delay of a late callback; default 2 s
	GiveUp      time.Duration // how long a callback is retried; default 2 min
	File        string        // stores the book as JSON: read by Start, written after changes (once a second) and by Close; default: none
	Keep        int           // maximum number of charges, and of refunds, in the book; default 100,000
	Log         *slog.Logger  // default: slog.Default()
	// Plan returns the treatment of a charge; default PlanFor. It must be a pure
	// function.
	Plan func(seed uint64, orderKey string, attempt int) Plan
}

// Simulator is a payment gateway. Create it with New.
type Simulator struct {
	cfg     Config
	secrets [][]byte    // sign callbacks
	forger  []byte      // signs forged callbacks; unknown to the receiver
	server  *web.Server // nil before Start
	client  *http.Client
	slots   chan struct{} // limits concurrent callback attempts

	ctx    context.Context // ends at Close, and with it callbacks and unanswered requests
	cancel context.CancelFunc
	wait   sync.WaitGroup // background goroutines

	saving sync.Mutex // held while the file is written; locked before mu

	mu       sync.Mutex // guards the fields below, and every charge and refund
	charges  []*charge
	refunds  []*refund
	byKey    map[string]*charge
	byRefund map[string]*refund
	attempts map[string]int // order key → number of charges
	done     map[string]int // misbehaviour → how often it happened
	open     int
	target   string // where results are sent; "": the charge's own address
	changes  int    // number of changes so far
	saved    int    // number of changes that the file contains
}

// New returns a simulator that is not started yet.
func New(cfg Config) (*Simulator, error) {
	if cfg.Secret == "" {
		return nil, errors.New("simulator: Secret is empty: its callbacks would be refused")
	}
	if cfg.Address == "" {
		cfg.Address = "127.0.0.1:0"
	}
	if cfg.Late == 0 {
		cfg.Late = 2 * time.Second
	}
	if cfg.GiveUp == 0 {
		cfg.GiveUp = 2 * time.Minute
	}
	if cfg.Keep == 0 {
		cfg.Keep = 100_000
	}
	if cfg.Plan == nil {
		cfg.Plan = PlanFor
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if err := onLoopback(cfg.Address); err != nil {
		return nil, err
	}
	const inFlight = 32
	s := &Simulator{
		cfg: cfg, forger: make([]byte, 32), slots: make(chan struct{}, inFlight),
		client: &http.Client{
			Timeout:       10 * time.Second,
			Transport:     &http.Transport{MaxIdleConnsPerHost: inFlight, IdleConnTimeout: time.Minute}, // no proxy, because it is loopback
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		target: cfg.CallbackURL, byKey: map[string]*charge{}, byRefund: map[string]*refund{}, attempts: map[string]int{}, done: map[string]int{},
	}
	if cfg.OldSecret != "" {
		s.secrets = append(s.secrets, gateway.Secret(cfg.OldSecret))
	}
	s.secrets = append(s.secrets, gateway.Secret(cfg.Secret))
	_, _ = rand.Read(s.forger) // crypto/rand never fails
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Start starts the server and returns when it accepts connections.
func (s *Simulator) Start() error {
	if s.cfg.File != "" {
		if err := s.load(); err != nil {
			return err
		}
	}
	// Higher than for the program's own server: a request without a response stays
	// open until its client gives up.
	const requests, connections = 1024, 2048
	limits := web.NewLimits(s.cfg.Log, requests, connections)
	server, err := web.Listen(s.cfg.Address, "payment.gateway.simulator_address", s.handler(limits), limits, s.cfg.Log)
	if err != nil {
		return fmt.Errorf("simulator: %w", err)
	}
	s.server = server
	if s.cfg.File != "" {
		s.wait.Go(s.saveUntilClosed)
	}
	for _, c := range s.unfinished() {
		s.wait.Go(func() { s.resume(c) })
	}
	s.wait.Go(func() {
		if err := server.Serve(); err != nil {
			s.cfg.Log.Error("the gateway simulator ended by itself", "error", err)
		}
	})
	return nil
}

// CallBackTo sets the address of callbacks, for a receiver whose address was not
// known when the simulator was created.
func (s *Simulator) CallBackTo(url string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.target = url
}

// callbackURL returns the address for a charge's callbacks. ok is false if the
// charge requests an address outside this machine.
func (s *Simulator) callbackURL(asked gateway.Charge) (target string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.target != "" {
		return s.target, true
	}
	u, err := url.Parse(asked.CallbackURL)
	return asked.CallbackURL, err == nil && loopback.Host(u.Hostname())
}

// URL returns the simulator's address, as "http://127.0.0.1:43211". It is valid
// after Start.
func (s *Simulator) URL() string { return s.server.URL() }

// Close stops the server and the callbacks and waits for them. Unfinished
// callbacks are lost, unless the file stores them for the next process. The book
// can still be read.
func (s *Simulator) Close() error {
	s.cancel()
	grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var err error
	if s.server != nil {
		err = s.server.Shutdown(grace) // first, so that no handler starts a callback while Close waits
	}
	s.wait.Wait()
	s.client.CloseIdleConnections()
	return errors.Join(err, s.save())
}

// onLoopback returns an error for an address that other machines can reach.
func onLoopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("simulator: address %q: %w", address, err)
	}
	if !loopback.Host(host) {
		return fmt.Errorf("simulator: %q is not a loopback address; it is for development only", address)
	}
	return nil
}

// Package simulator is a payment gateway of our own that misbehaves on purpose,
// for development, demonstrations and tests only: an HTTP server on loopback
// that captures no money.
//
// # What it does
//
//   - POST /charges and POST /refunds, as package gateway's Client speaks them.
//     The same Idempotency-Key is the same charge: it is asked again, never
//     made again; with another body it is refused with 422.
//   - It calls back, signed by gateway.Sign, and tries each callback again with
//     back-off (100 ms, doubling, at most 2 s) until it gets a 2xx or a final
//     refusal (a 4xx other than 408, 425 and 429), for Config.GiveUp at most:
//     a receiver that is killed and back within that time misses nothing.
//   - Its treatment of a charge is [PlanFor] of the seed, the order key and the
//     number of the order's charge, and nothing else: the same orders meet the
//     same treatment in every run. Only the interleaving is left to chance.
//   - GET /book answers its own book as JSON, GET / shows it as a page.
//
// # Shares
//
// Of all charges 10 % are declined. Independently, of the first answers 8 % are
// a 503 that charged nothing, 7.2 % never come though the charge was made, 9 %
// come after the callback, 15 % tell the final result at once. Independently, of
// the callbacks 8 % come late, 10 % twice, 9 % out of order, 9 % after a forged
// one and 9 % after one with a wrong amount. Of the refunds, 15 % meet a 503
// first and 15 % a time-out that hides a success. So 200 orders lack one of the
// charges' misbehaviours about once in a million seeds.
//
// # What it does not
//
// The book is in memory, and ends with the process unless Config.File keeps it:
// then a later process knows the charges and refunds of an earlier one, but for
// those of the last second before a kill, and tells again what was not answered
// for good. A power failure may lose the file. It has no accounts and takes
// every order as new: that an order is charged once is its client's business,
// and what the book is there to prove.
package simulator

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"millrace/modules/payment/gateway"
)

// Config says how a simulator is set up. The zero value of a field is its default.
type Config struct {
	Seed        uint64
	Address     string        // where it listens, loopback only; default "127.0.0.1:0"
	Secret      string        // signs callbacks; required, as gateway.Secret reads it
	OldSecret   string        // signs them too, first, when set: a rotation in progress
	CallbackURL string        // where every result is told; default: where the charge says, loopback only
	Late        time.Duration // how late a late callback is; default 2 s
	GiveUp      time.Duration // how long a callback is tried; default 2 min
	File        string        // keeps the book, as JSON: read by Start, written after changes (once a second) and by Close; default: none
	Log         *slog.Logger  // default: slog.Default()
}

// Simulator is the running gateway. Make it with New.
type Simulator struct {
	cfg      Config
	secrets  [][]byte // those it signs with
	forger   []byte   // a secret nobody else has
	server   *http.Server
	client   *http.Client
	listener net.Listener
	slots    chan struct{} // bounds the tries in flight

	ctx    context.Context // ends at Close: callbacks and unanswered requests stop
	cancel context.CancelFunc
	wait   sync.WaitGroup // the callbacks' goroutines

	saving sync.Mutex // held while the file is written; taken before mu

	mu       sync.Mutex // guards what follows, and every charge and refund
	charges  []*charge
	refunds  []*refund
	byKey    map[string]*charge
	byRefund map[string]*refund
	attempts map[string]int // order key → charges so far
	done     map[string]int // misbehaviour → how often
	open     int
	changes  int // how many there were
	saved    int // those that the file holds
}

// New returns a simulator that is not started.
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
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if err := loopback(cfg.Address); err != nil {
		return nil, err
	}
	const inFlight = 32
	s := &Simulator{
		cfg: cfg, forger: make([]byte, 32), slots: make(chan struct{}, inFlight),
		client: &http.Client{
			Timeout:       10 * time.Second,
			Transport:     &http.Transport{MaxIdleConnsPerHost: inFlight, IdleConnTimeout: time.Minute}, // no proxy: it is loopback
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		byKey: map[string]*charge{}, byRefund: map[string]*refund{}, attempts: map[string]int{}, done: map[string]int{},
	}
	if cfg.OldSecret != "" {
		s.secrets = append(s.secrets, gateway.Secret(cfg.OldSecret))
	}
	s.secrets = append(s.secrets, gateway.Secret(cfg.Secret))
	_, _ = rand.Read(s.forger) // crypto/rand never fails
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.server = &http.Server{
		Handler: s.routes(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10,
	}
	return s, nil
}

// Start listens and serves until Close. It returns when connections are accepted.
func (s *Simulator) Start() error {
	if s.cfg.File != "" {
		if err := s.load(); err != nil {
			return err
		}
	}
	listener, err := net.Listen("tcp", s.cfg.Address)
	if err != nil {
		return fmt.Errorf("simulator: %w", err)
	}
	s.listener = listener
	if s.cfg.File != "" {
		s.wait.Go(s.saveUntilClosed)
	}
	for _, c := range s.unended() {
		s.wait.Go(func() { s.resume(c) })
	}
	s.wait.Go(func() {
		if err := s.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.cfg.Log.Error("the gateway simulator ended by itself", "error", err)
		}
	})
	return nil
}

// URL is where it listens, as "http://127.0.0.1:43211". Call it after Start.
func (s *Simulator) URL() string { return "http://" + s.listener.Addr().String() }

// Close stops answering and calling back, and returns when nothing runs any
// more. Callbacks that were not answered yet are lost, unless the file keeps
// them for the next process; the book stays readable.
func (s *Simulator) Close() error {
	s.cancel()
	grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := s.server.Shutdown(grace) // first, so that no handler starts a callback while we wait for them
	s.wait.Wait()
	s.client.CloseIdleConnections()
	return errors.Join(err, s.save())
}

// loopback refuses an address that other machines could reach.
func loopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("simulator: address %q: %w", address, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("simulator: %q is not a loopback address; it is for development only", address)
	}
	return nil
}

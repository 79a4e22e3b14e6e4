package app

import (
	"context"
	"errors"
	"sync"
	"time"

	"millrace/platform/errs"
)

// Time limits of each step of the shutdown, and of all steps: less than the 25
// seconds after which an orchestrator kills the process.
const (
	finishAll        = 21 * time.Second
	finishRequests   = 10 * time.Second // the time limit of a request
	finishHandlers   = 5 * time.Second  // a handler's limit is 2 s
	finishBackground = 9 * time.Second  // an outbound call's limit is 8 s
	finishRouter     = 2 * time.Second
)

// Run serves until ctx ends, and then returns nil. If a part ends by itself, Run
// stops the others and returns an error that names it. See the package comment
// for the order.
func (a *App) Run(ctx context.Context) error {
	// The parts have contexts of their own, because they end in an order, not at once.
	background, endBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer endBackground()

	a.begin("starting the message router")
	ended := make(chan error, len(a.hosted)+2) // buffered, so that no part blocks when it ends
	routerDone := make(chan struct{})
	go func() {
		defer close(routerDone)
		err := a.router.Run(context.WithoutCancel(ctx))
		ended <- errs.New(errs.Unknown, "the message router ended by itself: %w", orNothing(err))
	}()
	go func() {
		if err := <-a.served; err != nil {
			ended <- err
		}
	}()
	var modules sync.WaitGroup
	for _, m := range a.hosted {
		modules.Go(func() {
			err := m.Run(background)
			if background.Err() == nil {
				ended <- errs.New(errs.Unknown, "the background work of module %s ended by itself: %w", m.Name(), orNothing(err))
			} else if err != nil {
				a.log.Error("the background work of a module ended with an error", "module", m.Name(), "error", err)
			}
		})
	}

	var cause error
	running := a.router.Running()
	for waiting := true; waiting; {
		select {
		case <-running:
			running = nil
			a.answerWith(a.routes)
			a.log.Info("ready", "url", a.URL(), "version", a.version)
			close(a.ready)
		case <-ctx.Done():
			waiting = false
		case cause = <-ended:
			waiting = false
		case <-a.database.ended():
			cause = errs.New(errs.Resource, "the embedded database ended by itself: see data_dir/postgres/server.log")
			waiting = false
		}
	}
	a.end(endBackground, &modules, routerDone)
	return cause
}

// orNothing returns err, or an error for a part that ended without one.
func orNothing(err error) error {
	if err == nil {
		return errors.New("without an error")
	}
	return err
}

// end finishes the work in flight, step by step. It logs a step that exceeds its
// limit and continues with the next; unfinished work is processed again after the
// next start.
func (a *App) end(endBackground context.CancelFunc, modules *sync.WaitGroup, routerDone <-chan struct{}) {
	began := time.Now()
	a.stopping.Store(true)
	a.log.Info("ending: finishing what is in flight")
	all, cancel := context.WithTimeout(context.Background(), finishAll)
	defer cancel()
	step := func(name string, limit time.Duration, do func(context.Context) error) {
		ctx, cancel := context.WithTimeout(all, limit)
		defer cancel()
		if err := do(ctx); err != nil {
			a.log.Warn("ending: left unfinished", "step", name, "error", err)
		}
	}
	step("requests", finishRequests, a.server.Shutdown)
	step("handlers", finishHandlers, a.transport.Drain)
	endBackground()
	step("background work", finishBackground, func(ctx context.Context) error {
		return within(ctx, func() error { modules.Wait(); return nil })
	})
	step("router", finishRouter, func(ctx context.Context) error {
		return within(ctx, func() error {
			err := a.router.Close()
			<-routerDone
			return err
		})
	})
	a.log.Info("ended", "seconds", time.Since(began).Seconds())
}

// within calls do and waits for it until ctx ends.
func within(ctx context.Context, do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

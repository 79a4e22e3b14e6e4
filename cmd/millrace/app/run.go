package app

import (
	"context"
	"errors"
	"sync"
	"time"

	"millrace/platform/errs"
)

// How long each step of the end may take, and all of it: less than the 25
// seconds after which whoever asked us to end kills us.
const (
	finishAll        = 21 * time.Second
	finishRequests   = 10 * time.Second // as long as a request may take
	finishHandlers   = 5 * time.Second  // a handler may take 2
	finishBackground = 9 * time.Second  // a call to the outside may take 8
	finishRouter     = 2 * time.Second
)

// Run serves until ctx ends, and then returns nil; or until a part ends by
// itself, and then returns what did. See the package comment for the order.
func (a *App) Run(ctx context.Context) error {
	// The parts have contexts of their own: they end in an order, not at once.
	background, endBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer endBackground()

	ended := make(chan error, len(a.hosted)+2) // whoever ends says so; nobody waits to say it
	routerDone := make(chan struct{})
	go func() {
		defer close(routerDone)
		err := a.router.Run(context.WithoutCancel(ctx))
		ended <- errs.New(errs.Unknown, "the message router ended by itself: %w", orNothing(err))
	}()
	go func() {
		if err := a.server.Serve(); err != nil {
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

// orNothing makes an error out of its absence, so that it can be told.
func orNothing(err error) error {
	if err == nil {
		return errors.New("without an error")
	}
	return err
}

// end finishes what is in flight, step by step. A step that takes too long is
// logged and left: what it holds is taken up again at the next start.
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

// within waits for do, but not longer than ctx.
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

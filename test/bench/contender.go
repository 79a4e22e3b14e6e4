package main

import (
	"context"
	"errors"
)

// behaviour is what the handlers of a run do beside their one effect.
type behaviour struct {
	failEvery int // every n-th payment fails once, in each group; 0 is never
	hot       bool
	observer  *board
}

// errOnce is the failure that the next attempt cures.
var errOnce = errors.New("the first attempt fails")

// contender is one way to do the work, on a database of its own.
type contender interface {
	// publish publishes all payments in one transaction; the caller notes the commit.
	publish(ctx context.Context, batch []payment) error
	// start lets the handlers work, until stop.
	start(ctx context.Context, b behaviour) error
	stop() error
	// effects names the business table of each group, to count afterwards.
	effects() []string
	// close frees everything; after stop, or without any start.
	close() error
}

// kind makes contenders.
type kind struct {
	name string
	open func(ctx context.Context, url string) (contender, error)
}

var (
	kindOurs       = kind{"ours", openOurs(0)}
	kindOursAlone  = kind{"ours, runs of one", openOursAlone}
	kindStock      = kind{"stock 10 ms", openStock(pollFast)}
	kindStockSlow  = kind{"stock 1 s", openStock(pollDefault)}
	kindRiver      = kind{"river", openRiver(riverDefault)}
	kindRiverTuned = kind{"river tuned", openRiver(riverTuned)}
)

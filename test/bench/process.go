package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"millrace/platform/bus"
	"millrace/platform/bus/sqltransport"
)

// process is what a program of ours is: some modules on a transport.
type process struct {
	transport transport
	router    *message.Router
	ended     chan error
}

// transport is what carries messages, on either road.
type transport interface {
	DB(module string) *bus.DB
	Subscriber(module string) message.Subscriber
	Drain(ctx context.Context) error
	Close() error
}

// road opens a transport for some modules.
type road func(ctx context.Context, pool int, topo *bus.Topology, hosted []string) (transport, error)

func onPostgres(url string) road {
	return func(ctx context.Context, pool int, topo *bus.Topology, hosted []string) (transport, error) {
		return sqltransport.Open(ctx, databaseConfig(url, pool), topo, hosted)
	}
}

func databaseConfig(url string, pool int) sqltransport.Config {
	return sqltransport.Config{URL: url, MaxConnsPerModule: pool, Logger: slog.New(slog.DiscardHandler)}
}

// startProcess returns when all that is hosted listens.
func startProcess(ctx context.Context, by road, pool int, topo *bus.Topology, hosted []string) (_ *process, err error) {
	p := &process{ended: make(chan error, 1)}
	if p.transport, err = by(ctx, pool, topo, hosted); err != nil {
		return nil, err
	}
	quiet := slog.New(slog.DiscardHandler)
	if p.router, err = bus.NewRouter(topo, hosted, p.transport.Subscriber, quiet, watermill.NopLogger{}); err != nil {
		return nil, errors.Join(err, p.transport.Close())
	}
	go func() { p.ended <- p.router.Run(context.WithoutCancel(ctx)) }()
	select {
	case <-p.router.Running():
		return p, nil
	case err := <-p.ended:
		return nil, errors.Join(err, p.transport.Close())
	}
}

func (p *process) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return errors.Join(p.transport.Drain(ctx), p.router.Close(), <-p.ended, p.transport.Close())
}

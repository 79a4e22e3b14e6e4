package demo

import (
	"context"
	"errors"
	"log/slog"

	"millrace/cmd/millrace/app"
	"millrace/config"
	"millrace/platform/errs"
)

// serving is the program under test, in this process or in children.
type serving interface {
	URL() string
	// Ended is closed when the program ends by itself; Stop then returns the cause.
	Ended() <-chan struct{}
	// Stop lets the program finish its work in flight, and waits. Further calls
	// return the first call's error.
	Stop() error
}

// inProcess is the App in this process.
type inProcess struct {
	app    *app.App
	cancel context.CancelFunc
	ended  chan struct{}
	err    error
}

func serveHere(ctx context.Context, cfg config.Config, version string, log *slog.Logger) (*inProcess, error) {
	a, err := app.New(ctx, cfg, app.Options{Version: version, Log: log})
	if err != nil {
		return nil, err
	}
	// The App ends with Stop, not with ctx, so that work in flight is finished first.
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &inProcess{app: a, cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		err := a.Run(running)
		p.err = errors.Join(err, a.Close())
	}()
	select {
	case <-a.Ready():
		return p, nil
	case <-p.ended:
		return nil, errs.New(errs.Unknown, "the program ended before it was ready: %w", p.err)
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), p.Stop())
	}
}

func (p *inProcess) URL() string            { return p.app.URL() }
func (p *inProcess) Ended() <-chan struct{} { return p.ended }
func (p *inProcess) Stop() error {
	p.cancel()
	<-p.ended
	return p.err
}

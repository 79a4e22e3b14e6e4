package main

import (
	"context"
	"log/slog"

	"millrace/cmd/millrace/proxy"
	"millrace/config"
)

type proxyCmd struct {
	To      []string `placeholder:"MODULE=URL" help:"Address of a module; once for each, as --to payment=http://127.0.0.1:8081. The default is proxy.modules."`
	Address string   `placeholder:"HOST:PORT" help:"Where to listen; the default is http.address."`
}

// Run forwards requests until ctx ends.
func (c *proxyCmd) Run(ctx context.Context, cfg config.Config, log *slog.Logger, out *output) error {
	if len(c.To) > 0 {
		cfg.Proxy.Modules = c.To
	}
	if c.Address != "" {
		cfg.HTTP.Address = c.Address
	}
	p, err := proxy.New(cfg, version(), log)
	if err != nil {
		return err
	}
	out.announce(log, "The proxy is ready: %s/\n", p.URL())
	return p.Run(ctx)
}

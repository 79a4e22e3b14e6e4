package main

import (
	"context"
	"errors"
	"fmt"

	"millrace/cmd/millrace/app"
	"millrace/cmd/millrace/demo"
	"millrace/config"
)

type demoCmd struct {
	Orders    string `type:"path" placeholder:"FILE.csv" help:"Your own orders instead of the embedded ones, with the columns of cmd/millrace/demo/data/orders.csv."`
	Count     int    `type:"number" min:"1" max:"100000" placeholder:"N" help:"How many orders, at most 100000; one consultation comes with five. The default is all, 1000. If the file has fewer, its orders are played again under other keys."`
	Seed      int64  `type:"number" default:"1" placeholder:"S" help:"Seed of the gateway's misbehaviour, and of when the program is killed."`
	Kill      int    `type:"number" min:"0" max:"1000" placeholder:"N" help:"Serve from another process, and kill it with SIGKILL N times while the orders run."`
	Split     bool   `help:"Serve each module from a process and a database of its own, on Kafka; --kill then applies to each process."`
	Transport string `placeholder:"NAME" help:"postgres, or kafka: over the configured brokers, or else over a fake one in this process."`
	JSON      bool   `name:"json" help:"End with the result as one line of JSON."`
}

// Run plays the demo and checks the result. It returns nil only if every check passes.
func (c *demoCmd) Run(ctx context.Context, cfg config.Config, out *output, bar *bar) error {
	ctx, cancel := out.until(ctx)
	defer cancel()
	if c.Transport != "" {
		cfg.Transport = c.Transport
	}
	if c.Split && c.Transport == "" {
		cfg.Transport = config.OnKafka
	}
	if err := validate(cfg); err != nil {
		return err
	}
	result, err := demo.Run(ctx, demo.Options{
		Orders: c.Orders, Count: c.Count, Seed: c.Seed, Kills: c.Kill, Split: c.Split,
		Version: version(), Config: cfg, Out: out.Printer, Bar: bar.to,
	})
	if err == nil {
		out.Printf("\nAll of it holds: %d orders, %d consultations, %d events, %d handled, 0 lost, 0 doubled, %s, %.1f s.\n",
			result.Orders, result.Consultations, result.Events, result.Handled, kills(result.Kills), result.Seconds)
	}
	if c.JSON {
		return errors.Join(err, out.JSON(result, ""))
	}
	return err
}

// validate accepts a configuration without brokers, because the demo starts one.
func validate(cfg config.Config) error {
	if cfg.Transport == config.OnKafka && len(cfg.Kafka.Brokers) == 0 {
		cfg.Kafka.Brokers = []string{"127.0.0.1:9092"}
	}
	return cfg.Validate(app.Modules())
}

func kills(n int64) string {
	if n == 1 {
		return "1 kill"
	}
	return fmt.Sprintf("%d kills", n)
}

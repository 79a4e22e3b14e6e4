package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"millrace/cmd/millrace/app"
	"millrace/cmd/millrace/demo"
	"millrace/config"
)

type demoCmd struct {
	Orders    string `type:"path" placeholder:"FILE.csv" help:"Your own orders instead of the embedded ones; the columns are those of cmd/millrace/demo/data/orders.csv."`
	Count     int    `placeholder:"N" help:"How many orders; one consultation comes with five. The default is all, 1000. More than the file has are played again under other keys."`
	Seed      int64  `default:"1" placeholder:"S" help:"Decides how the gateway misbehaves, and when the program is killed."`
	Kill      int    `placeholder:"N" help:"Serve from another process, and kill -9 that one N times while the orders run."`
	Split     bool   `help:"Serve every module from a process of its own, with a database of its own, on Kafka; --kill is then for each of them."`
	Transport string `placeholder:"NAME" help:"How messages travel: postgres, or kafka, by the configured brokers or else by a fake one in this process."`
	JSON      bool   `name:"json" help:"End with one line of JSON that tells the result."`
}

// Validate refuses numbers that mean nothing.
func (c *demoCmd) Validate() error {
	if c.Count < 0 || c.Kill < 0 {
		return fmt.Errorf("--count and --kill are not negative")
	}
	return nil
}

// Run plays everything and checks it; nil only if all held.
func (c *demoCmd) Run(ctx context.Context, cfg config.Config, out io.Writer) error {
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
		Version: version(), Config: cfg, Out: out, Bar: os.Stderr,
	})
	if err == nil {
		fmt.Fprintf(out, "\nAll of it holds: %d orders, %d consultations, %d events, %d handled, 0 lost, 0 doubled, %s, %.1f s.\n",
			result.Orders, result.Consultations, result.Events, result.Handled, kills(result.Kills), result.Seconds)
	}
	if c.JSON {
		line, encodeErr := json.Marshal(result)
		if encodeErr != nil {
			return encodeErr
		}
		fmt.Fprintf(out, "%s\n", line)
	}
	return err
}

// validate lets brokers be missing: the demo brings one.
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

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"millrace/cmd/millrace/parity"
	"millrace/config"
)

type parityCmd struct {
	Brokers []string `placeholder:"HOST:PORT,…" help:"A real Kafka to compare with too."`
	Split   bool     `help:"Compare with a process and a database for each module, too."`
	Count   int      `default:"50" placeholder:"N" help:"How many orders; one consultation comes with five."`
	Seed    int64    `default:"1" placeholder:"S" help:"Decides how the gateway misbehaves."`
	JSON    bool     `name:"json" help:"End with one line of JSON that tells the result."`
}

// Validate refuses numbers that mean nothing.
func (c *parityCmd) Validate() error {
	if c.Count < 1 {
		return fmt.Errorf("--count is positive")
	}
	return nil
}

// Run compares the transports; nil only if nothing differs without a reason.
func (c *parityCmd) Run(ctx context.Context, cfg config.Config, out io.Writer) error {
	if err := validate(cfg); err != nil {
		return err
	}
	result, err := parity.Run(ctx, parity.Options{
		Count: c.Count, Seed: c.Seed, Brokers: c.Brokers, Split: c.Split, Version: version(), Config: cfg, Out: out, Bar: os.Stderr,
	})
	if err == nil {
		fmt.Fprintf(out, "\nThe transports agree: %d lines identical, %d adapted for the reasons above.\n", result.Identical, result.Adapted)
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

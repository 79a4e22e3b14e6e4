package main

import (
	"context"
	"errors"

	"millrace/cmd/millrace/parity"
	"millrace/config"
)

type parityCmd struct {
	Brokers []string `placeholder:"HOST:PORT,…" help:"A real Kafka to compare with, too."`
	Split   bool     `help:"Compare with a process and a database for each module, too."`
	Count   int      `type:"number" min:"1" max:"100000" default:"50" placeholder:"N" help:"How many orders; one consultation comes with five."`
	Seed    int64    `type:"number" default:"1" placeholder:"S" help:"Seed of the gateway's misbehaviour."`
	JSON    bool     `name:"json" help:"End with the result as one line of JSON."`
}

// Run compares the transports. It returns nil only if every difference has a reason.
func (c *parityCmd) Run(ctx context.Context, cfg config.Config, out *output, bar *bar) error {
	ctx, cancel := out.until(ctx)
	defer cancel()
	if err := validate(cfg); err != nil {
		return err
	}
	result, err := parity.Run(ctx, parity.Options{
		Count: c.Count, Seed: c.Seed, Brokers: c.Brokers, Split: c.Split, Version: version(), Config: cfg, Out: out.Printer, Bar: bar.to,
	})
	if err == nil {
		out.Printf("\nThe transports agree: %d lines identical, %d adapted for the reasons above.\n", result.Identical, result.Adapted)
	}
	if c.JSON {
		return errors.Join(err, out.JSON(result, ""))
	}
	return err
}

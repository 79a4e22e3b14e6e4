package conformance

import (
	"context"
	"strconv"

	"millrace/platform/bus"
	busstore "millrace/platform/bus/store"
)

// part is a module that a test declares.
type part struct {
	name       string
	publishes  []bus.Event
	sends      []bus.Command
	subscribes []bus.Subscription
}

func (p part) Name() string                      { return p.name }
func (p part) Publishes() []bus.Event            { return p.publishes }
func (p part) Sends() []bus.Command              { return p.sends }
func (p part) Subscriptions() []bus.Subscription { return p.subscribes }

// The messages: shop publishes paid and noted, and sends the command pack to
// store; store publishes packed.
type paid struct {
	Order string `json:"order"`
	N     int    `json:"n"`
	Pad   string `json:"pad,omitempty"`
}

func (paid) EventName() string { return "shop.paid" }
func (p paid) Key() string     { return p.Order }

type noted struct {
	Order string `json:"order"`
	N     int    `json:"n"`
}

func (noted) EventName() string { return "shop.noted" }
func (n noted) Key() string     { return n.Order }

type pack struct {
	Order string `json:"order"`
	N     int    `json:"n"`
}

func (pack) CommandName() string { return "store.pack" }
func (p pack) Key() string       { return p.Order }

type packed struct {
	Order string `json:"order"`
	N     int    `json:"n"`
}

func (packed) EventName() string { return "store.packed" }
func (p packed) Key() string     { return p.Order }

func shop() part {
	return part{name: "shop", publishes: []bus.Event{paid{}, noted{}}}
}

// store returns a module with the given subscriptions.
func store(subscriptions ...bus.Subscription) part {
	return part{name: "store", subscribes: subscriptions}
}

// note is the default handler: it inserts one row for each message.
func note(ctx context.Context, tx *bus.Tx, p paid) error { return effect(ctx, tx, p.Order, p.N) }

// on returns a subscription whose handler calls first and then, if it succeeds, note.
func on(first func(context.Context, *bus.Tx, paid) error) bus.Subscription {
	return bus.On(func(ctx context.Context, tx *bus.Tx, p paid) error {
		if err := first(ctx, tx, p); err != nil {
			return err
		}
		return note(ctx, tx, p)
	})
}

func itoa(n int) string { return strconv.Itoa(n) }

func atoi(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return -1
	}
	return n
}

// keys returns n keys of one partition, so that their messages are handled in the same batches.
func keys(n int) []string {
	var found []string
	for i := 0; len(found) < n; i++ {
		key := "order-" + itoa(i)
		if busstore.PartitionOf(key) == 5 {
			found = append(found, key)
		}
	}
	return found
}

// batch returns events of several keys, interleaved, each key's numbered from 0.
func batch(keys, each int) []bus.Event {
	var all []bus.Event
	for n := range each {
		for k := range keys {
			all = append(all, paid{Order: "order-" + itoa(k), N: n})
		}
	}
	return all
}

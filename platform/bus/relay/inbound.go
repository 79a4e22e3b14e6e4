package relay

import (
	"context"
	"database/sql"

	"millrace/platform/bus"
	"millrace/platform/bus/store"
	"millrace/platform/errs"
)

// Inbound is what a bridge needs of a node's databases to receive: the receivers of the hosted
// modules, and the checkpoints.
type Inbound struct {
	DB        *sql.DB // search path: bus
	Topology  *bus.Topology
	Hosts     func(module string) bool
	Lease     interface{ RenewSoon() }
	Receivers map[string]*Receiver // by module
}

func (in *Inbound) receiver(module string) (*Receiver, error) {
	r := in.Receivers[module]
	if r == nil {
		return nil, errs.New(errs.Invalid, "module %s is not hosted here with a bridge", module)
	}
	return r, nil
}

// Receive is the Receive of the module's receiver.
func (in *Inbound) Receive(ctx context.Context, module string, rows []store.Row, checkpoints ...store.Checkpoint) error {
	r, err := in.receiver(module)
	if err != nil {
		return err
	}
	return r.Receive(ctx, rows, checkpoints...)
}

// Checkpoints returns the checkpoint of each partition of which the module has ever received.
func (in *Inbound) Checkpoints(ctx context.Context, module string) (all []store.Checkpoint, err error) {
	defer errs.Wrap(&err, "checkpoints of module %s", module)
	r, err := in.receiver(module)
	if err != nil {
		return nil, err
	}
	return store.Checkpoints(ctx, r.cfg.DB)
}

// Flush is as Checkpoints, and waits until all that they cover is on the disk: no crash of the
// database server forgets it any more.
func (in *Inbound) Flush(ctx context.Context, module string) (all []store.Checkpoint, err error) {
	defer errs.Wrap(&err, "flush checkpoints of module %s", module)
	r, err := in.receiver(module)
	if err != nil {
		return nil, err
	}
	return store.FlushCheckpoints(ctx, r.cfg.DB)
}

// BeginAt sets checkpoints to their To, where there are none, or where they are of another
// topic ID.
func (in *Inbound) BeginAt(ctx context.Context, module string, checkpoints []store.Checkpoint) (err error) {
	defer errs.Wrap(&err, "begin checkpoints of module %s", module)
	r, err := in.receiver(module)
	if err != nil || len(checkpoints) == 0 {
		return err
	}
	return store.BeginCheckpoints(ctx, r.cfg.DB, checkpoints)
}

// Superseded returns which rows their publisher, which works on this database, does not have:
// it was restored to a time before it published them, and what it has published since then has
// their numbers.
func (in *Inbound) Superseded(ctx context.Context, rows []store.Row) (superseded []bool, err error) {
	defer errs.Wrap(&err, "look for superseded rows")
	return store.Superseded(ctx, in.DB, in.Topology, in.Hosts, rows)
}

// SetTopicID records the ID of a bridge's topic. Another one than before means that what was
// in the topic is gone: then everything that is still there is sent again, and who has handled
// it drops it.
func (in *Inbound) SetTopicID(ctx context.Context, topic, id string) (again bool, err error) {
	again, err = store.SetTopicID(ctx, in.DB, in.Topology.Modules(), topic, id)
	if again {
		in.Lease.RenewSoon()
	}
	return again, err
}

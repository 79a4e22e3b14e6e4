package relay

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"millrace/platform/bus/store"
	"millrace/platform/bus/work"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

// PageRows is how many rows of a partition a relay sends at once.
const PageRows = 500

// Bridge takes messages from the database of the module that publishes or sends them to those
// of the modules that subscribe to them or handle them.
type Bridge interface {
	// Name is the bridge's name in the registry of topics.
	Name() string
	// Forward takes rows of one partition of one stream, in order. It returns how many of them,
	// from the first on, cannot be lost any more, and, if that is not all of them, why: the rest
	// is passed again, after a pause. After a crash rows are passed again that were confirmed
	// before. Several partitions are forwarded at the same time.
	Forward(ctx context.Context, rows []store.Row) (confirmed int, err error)
}

// Config describes a module's relay.
type Config struct {
	Module string
	Node   uuid.UUID
	DB     *sql.DB // the bridge's connections for the module; search path: its schema
	Lease  work.Lease
	Bridge Bridge
	// Readers has a reader for each stream that the module publishes or sends.
	Readers map[string]*work.Reader
	// Workers is how many wait for the bridge at the same time.
	Workers int
	// KeepSent is how long sent commands stay in the outbox.
	KeepSent time.Duration
	// Startup repeats a step of the start while the environment prevents it.
	Startup func(ctx context.Context, step string, do func(context.Context) error) error
	Logger  *slog.Logger
}

// Relay sends what a module publishes and sends to a bridge. It has committed offsets and a
// share of the partitions as a subscriber has.
type Relay struct {
	*work.Group
	cfg     Config
	offsets *store.Offsets
}

// New returns a relay that does nothing before Start.
func New(cfg Config) *Relay {
	name := store.RelayOf(cfg.Module)
	cfg.Logger = cfg.Logger.With("subscriber", name)
	r := &Relay{cfg: cfg, offsets: &store.Offsets{DB: cfg.DB, Subscriber: name, Node: cfg.Node}}
	r.Group = work.NewGroup(work.Config{
		Offsets: r.offsets, Readers: cfg.Readers, Lease: cfg.Lease, Step: r.step, Logger: cfg.Logger,
		// While a worker waits for the bridge it has no connection.
		Workers: func(slow int) int { return cfg.Workers + min(slow, store.Partitions) },
	})
	return r
}

// Start creates the relay's offsets, if it is new, and begins to send.
func (r *Relay) Start(ctx context.Context) error {
	err := r.cfg.Startup(ctx, "registering subscriber "+r.offsets.Subscriber, func(ctx context.Context) error {
		for _, stream := range r.Streams() {
			if err := r.offsets.Create(ctx, stream); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	failpoint.Here("relay.registered")
	r.Group.Start()
	return nil
}

// Maintain prunes what was sent.
func (r *Relay) Maintain(ctx context.Context) {
	if !r.Working() {
		return
	}
	if err := store.PruneOutbox(ctx, r.offsets, r.cfg.KeepSent); err != nil && ctx.Err() == nil {
		r.cfg.Logger.Warn("prune failed", "kind", errs.KindOf(err).String(), "error", err.Error())
	}
}

// Name is the relay's name in its offsets. With Offsets and Subscriptions, and what its Group
// has, it is a cluster.Member.
func (r *Relay) Name() string { return r.offsets.Subscriber }

// Offsets is the table of its offsets.
func (r *Relay) Offsets() string { return pq.QuoteIdentifier(r.cfg.Module) + ".offsets" }

// Subscriptions lists the topics that it sends, as "name/topic".
func (r *Relay) Subscriptions() (all []string) {
	for _, stream := range r.Streams() {
		all = append(all, r.offsets.Subscriber+"/"+store.TopicOf(stream))
	}
	return all
}

// part is what is sent of one partition.
type part struct {
	*work.Partition
	rows []store.Record
}

// sent is the bridge's reply.
type sent struct {
	part
	confirmed int
	failed    error
}

// step sends a page of a partition.
func (r *Relay) step(p *work.Partition) {
	ctx := context.Background() // work in flight is finished, whatever is shut down
	var rows []store.Record
	ready, _, _, err := r.Prepare(ctx, p)
	if err == nil && ready {
		rows, err = r.Read(ctx, p, PageRows)
	}
	switch {
	case err != nil:
		r.Fail(p, err)
	case len(rows) == 0:
		r.Resume(p)
		r.Done(p, false)
	default:
		failpoint.Here("relay.read")
		r.send(ctx, r.fill(ctx, part{p, rows}))
	}
}

// fill adds other partitions that are ready to a short page, since most of the time goes into
// waiting for the brokers and for the database, and a statement that moves one offset takes as
// long as one that moves many.
func (r *Relay) fill(ctx context.Context, first part) []part {
	parts := []part{first}
	for room := PageRows - len(first.rows); room > 0; {
		other := r.Another(1, nil)
		if other == nil {
			break
		}
		rows, err := r.Read(ctx, other, room)
		switch {
		case err != nil:
			r.Fail(other, err)
		case len(rows) == 0:
			r.Done(other, false)
		default:
			parts = append(parts, part{other, rows})
			room -= len(rows)
		}
	}
	return parts
}

// send passes the parts to the bridge, and gives each partition back as its reply comes: one
// with which the bridge is slow delays none of the others, and another worker starts in the
// place of the one that waits for it.
func (r *Relay) send(ctx context.Context, parts []part) {
	replies := make(chan sent, len(parts))
	for _, p := range parts {
		go func() {
			confirmed, err := r.cfg.Bridge.Forward(ctx, r.outgoing(p))
			replies <- sent{p, confirmed, err}
		}()
	}
	slow := time.NewTimer(work.Patience)
	defer slow.Stop()
	for left := len(parts); left > 0; {
		var all []sent
		select {
		case first := <-replies:
			all = append(all, first)
		case <-slow.C:
			defer r.Replace()()
			continue
		}
		for more := true; more; {
			select {
			case next := <-replies:
				all = append(all, next)
			default:
				more = false
			}
		}
		left -= len(all)
		failpoint.Here("relay.confirmed")
		r.commit(ctx, all)
	}
}

// outgoing are a part's rows as the bridge takes them.
func (r *Relay) outgoing(p part) []store.Row {
	topic, source, command := strings.Cut(p.Stream, "/")
	if !command {
		source = r.cfg.Module
	}
	rows := make([]store.Row, len(p.rows))
	for i, row := range p.rows {
		rows[i] = store.Row{Topic: topic, Source: source, Partition: p.Number, Sequence: row.Offset, ID: row.ID, Type: row.Type, Key: row.Key, Payload: row.Payload, Metadata: store.DecodeMetadata(row.Metadata), TopicID: p.TopicID}
	}
	return rows
}

// commit moves the committed offsets behind what was confirmed, and gives the partitions back.
// What a crash before it repeats, the receivers drop. What the bridge refused stays first in
// its partition.
func (r *Relay) commit(ctx context.Context, all []sent) {
	var moves store.Moves
	for _, s := range all {
		if s.confirmed > 0 {
			moves.AddSent(s.TopicID, s.Stream, s.Number, s.Offset, s.last())
		}
	}
	var moved map[store.Place]bool
	var failed error
	if moves.Len() > 0 {
		moved, failed = r.offsets.Move(ctx, &moves)
		failpoint.Here("relay.moved")
	}
	for _, s := range all {
		r.Settle(s.Partition, r.outcome(s, moved, failed))
	}
}

// outcome is what follows for a partition.
func (r *Relay) outcome(s sent, moved map[store.Place]bool, failed error) error {
	switch {
	case s.confirmed == 0:
	case failed != nil:
		return failed
	case !moved[store.Place{Stream: s.Stream, Partition: s.Number}]:
		return store.ErrMoved
	default:
		s.Offset = s.last()
	}
	if s.failed != nil {
		return errs.As(errs.Resource, fmt.Errorf("%s partition %d, row %d was not forwarded: %w", s.Stream, s.Number, s.Offset+1, s.failed))
	}
	return nil
}

// last is the offset of the last row that was confirmed.
func (s sent) last() int64 { return s.rows[s.confirmed-1].Offset }

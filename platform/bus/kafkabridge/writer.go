package kafkabridge

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/IBM/sarama"

	"millrace/platform/bus"
	"millrace/platform/bus/relay"
	"millrace/platform/bus/store"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

// What one transaction stores at most.
const (
	maxRows  = 500
	maxBytes = 4 << 20
)

// inbound is what a writer and its consumer need of relay.Inbound.
type inbound interface {
	Receive(ctx context.Context, module string, rows []store.Row, checkpoints ...store.Checkpoint) error
	Checkpoints(ctx context.Context, module string) ([]store.Checkpoint, error)
	Flush(ctx context.Context, module string) ([]store.Checkpoint, error)
	BeginAt(ctx context.Context, module string, checkpoints []store.Checkpoint) error
	Superseded(ctx context.Context, rows []store.Row) ([]bool, error)
}

// writer stores what arrives for a module in the module's database.
type writer struct {
	module   string
	topo     *bus.Topology
	inbound  inbound
	log      *slog.Logger
	counters *counters
	health   *health
	stored   *offsets
	arrived  chan arrival
	stopping *stopping
	restart  func() // restarts the consumer, which then begins at the checkpoints
}

// run stores all that is there in one transaction, and then moves the group's offset. It
// returns after stop.
func (w *writer) run() {
	for {
		var all []arrival
		select {
		case first := <-w.arrived:
			all = w.gather(first)
		case <-w.stopping.requested:
			return
		}
		failpoint.Here("consumer.gathered")
		if !w.store(all) {
			return
		}
		failpoint.Here("consumer.stored")
		for _, a := range all {
			if a.session != nil {
				a.session.MarkMessage(a.record, a.topicID) // without effect if the session has ended
			}
		}
		failpoint.Here("consumer.marked") // the library commits it a second later
	}
}

// gather adds what else has arrived, up to the limits of a transaction.
func (w *writer) gather(first arrival) []arrival {
	all, size := []arrival{first}, len(first.record.Value)
	for len(all) < maxRows && size < maxBytes {
		select {
		case next := <-w.arrived:
			all = append(all, next)
			size += len(next.record.Value)
		default:
			return all
		}
	}
	return all
}

// store tries until it succeeds: the database may be away. It returns false if the consumer
// was stopped before.
func (w *writer) store(all []arrival) bool {
	checkpoints := checkpointsOf(all)
	rows, doubtful := w.rowsOf(all, checkpoints)
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		var err error
		if doubtful {
			rows, err = w.dropSuperseded(rows)
			doubtful = err != nil
		}
		if err == nil {
			err = w.inbound.Receive(context.Background(), w.module, rows, checkpoints...)
		}
		if errors.Is(err, relay.ErrBehind) {
			if slices.ContainsFunc(all, arrival.live) {
				w.log.Warn("checkpoint behind the consumer, as after a database crash: records are read again")
				w.restart()
			}
			err = nil
		}
		if err == nil {
			w.health.succeed()
			for _, a := range all {
				if a.live() {
					w.stored.set(a.partition, a.record.Offset+1)
				}
			}
			w.counters.received.Add(int64(len(rows)))
			return true
		}
		w.health.fail(err)
		w.log.Warn("records not stored", "records", len(all), "retry_in", pause.String(), "kind", errs.KindOf(err).String(), "error", err.Error())
		if !w.stopping.sleep(pause) {
			return false
		}
	}
}

// rowsOf returns the rows to store. doubtful reports that a restored publisher may have
// superseded one of them.
func (w *writer) rowsOf(all []arrival, checkpoints []store.Checkpoint) (rows []store.Row, doubtful bool) {
	rows = make([]store.Row, 0, len(all))
	for _, a := range all {
		if row, ok := w.rowOf(a.partition.topic, a.record); ok {
			row.Since = a.since(checkpoints)
			rows = append(rows, row)
			doubtful = doubtful || a.doubtful
		}
	}
	return rows, doubtful
}

// rowOf returns a record as a row. A foreign record is accepted if the module subscribes to
// its type. If its type does not even belong to the topic it is counted as skipped.
func (w *writer) rowOf(topic string, m *sarama.ConsumerMessage) (row store.Row, ok bool) {
	row = read(w.topo, topic, m)
	if row.Sequence > 0 && row.Type != unreadable {
		return row, true
	}
	at := slog.Group("record", "topic", m.Topic, "partition", m.Partition, "offset", m.Offset, "id", row.ID.String())
	switch {
	case row.Type == unreadable:
		w.counters.unreadable.Add(1)
		w.log.Warn("unreadable record stored as a dead letter", at, slog.String("type", row.Metadata[store.MetaBadType]))
		return row, true
	case w.topo.TopicOf(row.Type) != topic:
		w.counters.skipped.Add(1)
		w.log.Warn("record skipped: its type does not belong to its topic", at, slog.String("type", row.Type), slog.String("source", row.Source))
		return row, false
	case !w.subscribes(row.Type):
		return row, false
	}
	w.counters.foreign.Add(1)
	return row, true
}

func (w *writer) subscribes(messageType string) bool {
	return slices.ContainsFunc(w.topo.SubscriptionsOf(w.module), func(s bus.Subscription) bool { return s.Type == messageType })
}

// dropSuperseded returns the rows without those that a restored publisher superseded.
func (w *writer) dropSuperseded(rows []store.Row) (kept []store.Row, err error) {
	superseded, err := w.inbound.Superseded(context.Background(), rows)
	if err != nil {
		return rows, err
	}
	for i, row := range rows {
		if !superseded[i] {
			kept = append(kept, row)
			continue
		}
		w.counters.superseded.Add(1)
		w.log.Error("superseded record dropped: its publisher's database was restored to an earlier time",
			"id", row.ID.String(), "type", row.Type, "source", row.Source, "partition", row.Partition, "sequence", row.Sequence)
	}
	return kept, nil
}

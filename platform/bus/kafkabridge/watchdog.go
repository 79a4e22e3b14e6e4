package kafkabridge

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/IBM/sarama"

	"millrace/platform/bus"
	"millrace/platform/bus/store"
	"millrace/platform/failpoint"
)

// watchdog finds what nothing else would notice: a deleted or recreated topic, a consumer
// without progress, a database that lost what it had stored. It also deletes received
// commands from their topics.
type watchdog struct {
	cfg       Config
	admin     *topicAdmin
	log       *slog.Logger
	topics    []string
	consumers []*consumer
	// setTopicID records a topic's ID in the database, and reports that everything is sent again.
	setTopicID func(ctx context.Context, topic, id string) (again bool, err error)
	distrust   func() // has everything that is known of the database read again

	topicIDs map[string]string
	stalls   *stallDetector
	deleted  map[topicPartition]int64 // commands below were deleted
}

func newWatchdog(admin *topicAdmin, topics []string, setTopicID func(ctx context.Context, topic, id string) (bool, error), distrust func()) *watchdog {
	return &watchdog{
		cfg: admin.cfg, admin: admin, log: admin.cfg.Logger, topics: topics, setTopicID: setTopicID, distrust: distrust,
		topicIDs: map[string]string{}, stalls: newStallDetector(admin), deleted: map[topicPartition]int64{},
	}
}

// run checks every Sweep until ctx ends.
func (w *watchdog) run(ctx context.Context) {
	tick := time.NewTicker(w.cfg.Sweep)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := w.checkTopics(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn("topics not checked", "error", err.Error())
		}
		for _, c := range w.consumers {
			if err := w.checkGroup(ctx, c); err != nil && ctx.Err() == nil {
				w.log.Warn("consumer group not checked", "group", c.group(), "error", err.Error())
			}
		}
	}
}

// checkTopics creates topics again that were deleted, and notices topics that were deleted
// and created again by somebody else.
func (w *watchdog) checkTopics(ctx context.Context) error {
	found, err := w.admin.describe(w.topics)
	if err != nil {
		return err
	}
	for _, name := range w.topics {
		if _, exists := found[name]; !exists {
			w.log.Error("topic deleted: it is created again, and everything that was published in it is sent again", "topic", w.cfg.Prefix+name)
			if found, err = w.admin.create(ctx, w.topics); err != nil {
				return err
			}
			break
		}
	}
	return w.compareTopicIDs(ctx, found)
}

// compareTopicIDs has everything sent again to a topic that is not the one it was, and has
// its consumers begin at its oldest record: see consumerSession.Setup.
func (w *watchdog) compareTopicIDs(ctx context.Context, found map[string]topic) error {
	for name, topic := range found {
		if w.topicIDs[name] == topic.id {
			continue
		}
		again, err := w.setTopicID(ctx, name, topic.id)
		if err != nil {
			return err
		}
		if again {
			w.log.Error("topic ID changed: everything that was published in the topic is sent again", "topic", w.cfg.Prefix+name)
		}
		if w.topicIDs[name] != "" {
			for _, c := range w.consumers {
				if slices.Contains(c.topics, name) {
					c.restart()
				}
			}
		}
		w.topicIDs[name] = topic.id
	}
	return nil
}

// checkGroup compares the group's committed offsets with the brokers and with the database. A
// stalled partition is read directly, and the consumer is restarted. Commands that the
// database has on its disk are deleted at the brokers.
func (w *watchdog) checkGroup(ctx context.Context, c *consumer) error {
	found, err := w.admin.describe(c.topics)
	if err != nil {
		return err
	}
	committed, err := w.committed(c, found)
	if err != nil {
		return err
	}
	before := c.stored.all() // before the checkpoints, which may grow meanwhile
	stored, err := checkpointsIn(ctx, found, c.module, c.inbound.Checkpoints)
	if err != nil {
		return err
	}
	restart := w.hasLost(c, before, stored)
	if restart {
		w.distrust()
	}
	for _, name := range c.topics {
		var received []topicPartition
		for partition, offset := range committed[name] {
			p := topicPartition{name, partition}
			stalled, err := w.stalls.check(c, p, offset)
			if err != nil {
				return err
			}
			restart = restart || stalled
			if stored[p] > w.deleted[p] {
				received = append(received, p)
			}
		}
		if name == bus.CommandsOf(c.module) && len(received) > 0 {
			if err := w.deleteReceived(ctx, c, found, received); err != nil {
				return err
			}
		}
	}
	if restart && !c.stopping.isRequested() {
		c.counters.restarts.Add(1)
		c.restart()
	}
	return ctx.Err()
}

// committed returns the group's committed offsets by topic and partition, -1 where there is
// none. One in another topic of this name means nothing, and is left out.
func (w *watchdog) committed(c *consumer, found map[string]topic) (map[string]map[int32]int64, error) {
	partitions := map[string][]int32{}
	for _, name := range c.topics {
		of, err := w.admin.client.Partitions(w.cfg.Prefix + name)
		if err != nil {
			return nil, fmt.Errorf("partitions of %s: %w", name, err)
		}
		partitions[w.cfg.Prefix+name] = of
	}
	answer, err := w.admin.ListConsumerGroupOffsets(c.group(), partitions)
	if err == nil && answer.Err != sarama.ErrNoError {
		err = answer.Err
	}
	if err != nil {
		return nil, fmt.Errorf("committed offsets: %w", err)
	}
	offsets := map[string]map[int32]int64{}
	for name, of := range partitions {
		topic := w.cfg.unprefixed(name)
		offsets[topic] = map[int32]int64{}
		for _, partition := range of {
			block := answer.GetBlock(name, partition)
			if block != nil && block.Err == sarama.ErrNoError && (block.Offset < 0 || block.Metadata == found[topic].id) {
				offsets[topic][partition] = block.Offset
			}
		}
	}
	return offsets, nil
}

// checkpointsIn returns the checkpoints in the topics that exist.
func checkpointsIn(ctx context.Context, found map[string]topic, module string, read func(context.Context, string) ([]store.Checkpoint, error)) (map[topicPartition]int64, error) {
	all, err := read(ctx, module)
	if err != nil {
		return nil, err
	}
	at := map[topicPartition]int64{}
	for _, c := range all {
		if c.TopicID == found[c.Topic].id {
			at[topicPartition{c.Topic, c.Partition}] = c.To
		}
	}
	return at, nil
}

// hasLost reports whether the database has less than was stored in this session. Mostly the
// next record shows it; but there may be none for a long time.
func (w *watchdog) hasLost(c *consumer, before, stored map[topicPartition]int64) bool {
	for p, offset := range before {
		if has, known := stored[p]; known && has < offset {
			c.log.Warn("checkpoint moved back, as after a database crash: records are read again",
				"topic", w.cfg.Prefix+p.topic, "partition", p.partition, "checkpoint", has, "received", offset)
			return true
		}
	}
	return false
}

// deleteReceived deletes commands that the module's database has on its disk.
func (w *watchdog) deleteReceived(ctx context.Context, c *consumer, found map[string]topic, received []topicPartition) error {
	flushed, err := checkpointsIn(ctx, found, c.module, c.inbound.Flush)
	if err != nil {
		return err
	}
	below := map[int32]int64{}
	for _, p := range received {
		below[p.partition] = flushed[p]
	}
	failpoint.Here("commands.before_delete")
	if err := w.admin.DeleteRecords(w.cfg.Prefix+bus.CommandsOf(c.module), below); err != nil {
		return fmt.Errorf("delete received commands: %w", err)
	}
	failpoint.Here("commands.deleted")
	for _, p := range received {
		w.deleted[p] = flushed[p]
	}
	return nil
}

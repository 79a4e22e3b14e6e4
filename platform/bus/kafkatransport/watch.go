package kafkatransport

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/IBM/sarama"

	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

// watch looks after what no other part would notice, every Sweep, until ctx ends.
func (t *Transport) watch(ctx context.Context) {
	tick := time.NewTicker(t.cfg.Sweep)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := t.lookAtTopics(ctx); err != nil && ctx.Err() == nil {
			t.cfg.Logger.Warn("the topics could not be looked at", "error", err.Error())
		}
		for _, in := range t.intakes {
			if err := t.lookAtGroup(ctx, in); err != nil && ctx.Err() == nil {
				t.cfg.Logger.Warn("the consumer group could not be looked at", "group", in.group(), "error", err.Error())
			}
		}
	}
}

// lookAtTopics makes topics again that somebody deleted, and sees that another
// topic has taken the name of one: then everything is sent again.
func (t *Transport) lookAtTopics(ctx context.Context) error {
	found, err := t.admin.describe(t.topics)
	if err != nil {
		return err
	}
	for _, name := range t.topics {
		if _, exists := found[name]; !exists {
			t.cfg.Logger.Error("a topic was deleted: it is made anew, and what was said in it is sent again", "topic", t.cfg.Prefix+name)
			if found, err = t.admin.create(ctx, t.topics); err != nil {
				return err
			}
			break
		}
	}
	return t.incarnations(ctx, found)
}

func (t *Transport) incarnations(ctx context.Context, found map[string]topic) error {
	for name, topic := range found {
		if t.incarnation[name] == topic.incarnation {
			continue
		}
		again, err := t.Inbound().SetTopicID(ctx, name, topic.incarnation)
		if err != nil {
			return err
		}
		if again {
			t.cfg.Logger.Error("a topic is not the one it was: everything that was said in it is sent again", "topic", t.cfg.Prefix+name)
		}
		if t.incarnation[name] != "" {
			for _, in := range t.intakes {
				if slices.Contains(in.topics, name) {
					in.again() // and reads it from its start, see claims.Setup
				}
			}
		}
		t.incarnation[name] = topic.incarnation
	}
	return nil
}

// progress is what was seen of a partition's offsets.
type progress struct {
	committed int64
	since     time.Time // since then there is something to read, and committed has not moved
	empty     int64     // below this one everything was read directly
	stuck     bool      // and there were records
}

// lookAtGroup compares how far the group is with how far the brokers are. What
// stands still although there is something to read is read directly, and the
// subscription starts anew. What was received of commands is deleted.
func (t *Transport) lookAtGroup(ctx context.Context, in *intake) error {
	found, err := t.admin.describe(in.topics)
	if err != nil {
		return err
	}
	asked := map[string][]int32{}
	for _, name := range in.topics {
		partitions, err := t.admin.client.Partitions(t.cfg.Prefix + name)
		if err != nil {
			return fmt.Errorf("partitions of %s: %w", name, err)
		}
		asked[t.cfg.Prefix+name] = partitions
	}
	answer, err := t.admin.ListConsumerGroupOffsets(in.group(), asked)
	if err != nil {
		return fmt.Errorf("offsets: %w", err)
	}
	if answer.Err != sarama.ErrNoError {
		return fmt.Errorf("offsets: %w", answer.Err)
	}
	brought := in.brought()
	kept, err := in.kept(ctx, found, in.to.Checkpoints)
	if err != nil {
		return err
	}
	stuck := in.isBehind(brought, kept)
	if stuck {
		t.Distrust()
	}
	for _, name := range in.topics {
		received := map[int32]int64{}
		for _, partition := range asked[t.cfg.Prefix+name] {
			block := answer.GetBlock(t.cfg.Prefix+name, partition)
			at := place{name, partition}
			if block == nil || block.Err != sarama.ErrNoError || block.Offset >= 0 && block.Metadata != found[name].incarnation {
				continue // an offset in another topic of this name says nothing
			}
			still, err := t.compare(in, at, block.Offset)
			if err != nil {
				return err
			}
			stuck = stuck || still
			if kept[at] > 0 && t.deleted[at] < kept[at] {
				received[partition] = kept[at]
			}
		}
		if name == bus.CommandsOf(in.module) && len(received) > 0 {
			safe, err := in.kept(ctx, found, in.to.Flush)
			if err != nil {
				return err
			}
			for partition := range received {
				received[partition] = safe[place{name, partition}]
			}
			failpoint.Here("commands.before_delete")
			if err := t.admin.DeleteRecords(t.cfg.Prefix+name, received); err != nil {
				return fmt.Errorf("delete received commands: %w", err)
			}
			failpoint.Here("commands.deleted")
			for partition, offset := range received {
				t.deleted[place{name, partition}] = offset
			}
		}
	}
	if stuck && !in.isStopped() {
		in.counts.restarts.Add(1)
		in.again()
	}
	return ctx.Err()
}

// isBehind tells whether the database has less than it was brought in this
// session. Mostly the next record shows it; but there may not be one for long.
func (in *intake) isBehind(brought, kept map[place]int64) bool {
	for at, offset := range brought {
		if has, known := kept[at]; known && has < offset {
			in.log.Warn("the database has forgotten what was received last, as after a crash: it is read again", "topic", at.topic, "partition", at.partition, "database", has, "received", offset)
			return true
		}
	}
	return false
}

// compare tells whether a partition stands still with something to read.
func (t *Transport) compare(in *intake, at place, committed int64) (stuck bool, err error) {
	newest, err := t.admin.client.GetOffset(t.cfg.Prefix+at.topic, at.partition, sarama.OffsetNewest)
	if err != nil {
		return false, fmt.Errorf("newest offset: %w", err)
	}
	key := watched{in.module, at}
	p := t.seen[key]
	if p.since.IsZero() || p.committed != committed {
		p = progress{committed: committed, since: time.Now(), empty: p.empty, stuck: p.stuck && committed < p.empty}
	}
	defer func() { t.seen[key] = p }()
	if in.isFailing() { // and says why: no partition is to blame
		p.since = time.Now()
		return false, nil
	}
	if newest <= max(committed, p.empty) {
		p.since = time.Now() // nothing lies unread: what comes after an hour of silence has lain no hour
	}
	if time.Since(p.since) < t.cfg.Stall {
		if !p.stuck {
			in.settle(at, nil)
		}
		return false, nil
	}
	oldest, err := t.admin.client.GetOffset(t.cfg.Prefix+at.topic, at.partition, sarama.OffsetOldest)
	if err != nil {
		return false, fmt.Errorf("oldest offset: %w", err)
	}
	from := max(committed, oldest, p.empty)
	if from >= newest {
		p.empty, p.stuck = newest, false // what was there is deleted
		in.settle(at, nil)
		return false, nil
	}
	found, err := in.readAgain(at, from, newest)
	if err != nil {
		in.settle(at, err)
		return true, nil
	}
	p.since, p.empty, p.stuck = time.Now(), newest, found > 0
	if found == 0 { // marks of transactions, which are no messages
		in.settle(at, nil)
		return false, nil
	}
	why := errs.New(errs.Resource, "%d records from offset %d on lay unread for %s; they were read directly, and the subscription starts anew", found, from, t.cfg.Stall)
	in.settle(at, why)
	in.log.Error("a subscription stood still", "topic", at.topic, "partition", at.partition, "committed", committed, "newest", newest, "records", found)
	return true, nil
}

type watched struct {
	module string
	place
}

// settle notes whether a partition stands still.
func (in *intake) settle(at place, why error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if why == nil {
		delete(in.stalled, at)
		return
	}
	if _, known := in.stalled[at]; !known {
		in.stalled[at] = failure{time.Now(), why}
	}
}

// stands says what keeps the intake from receiving for longer than limit.
func (in *intake) stands(limit time.Duration) (all []failure) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.failing.why != nil && time.Since(in.failing.since) >= limit {
		all = append(all, failure{in.failing.since, errs.New(errs.Resource, "module %s receives nothing since %s: %w", in.module, in.failing.since.Format(time.RFC3339), in.failing.why)})
	}
	for p, s := range in.stalled {
		all = append(all, failure{s.since, errs.New(errs.Resource, "module %s, %s partition %d: %w", in.module, p.topic, p.partition, s.why)})
	}
	return all
}

// again makes the subscription start anew.
func (in *intake) again() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.restart()
}

// readAgain hands the records of a partition from one offset to before another
// to the intake, beside its group. What was received before is dropped.
func (in *intake) readAgain(at place, from, to int64) (found int, err error) {
	settings, err := in.cfg.consumer()
	if err != nil {
		return 0, err
	}
	settings.Consumer.MaxWaitTime = directWait
	consumer, err := sarama.NewConsumer(in.cfg.Brokers, settings)
	if err != nil {
		return 0, in.cfg.unreachable(err)
	}
	defer func() { _ = consumer.Close() }() // it was only read from
	partition, err := consumer.ConsumePartition(in.cfg.Prefix+at.topic, at.partition, from)
	if err != nil {
		return 0, fmt.Errorf("read partition %d of %s from %d: %w", at.partition, at.topic, from, err)
	}
	defer func() { _ = partition.Close() }()
	quiet := time.NewTimer(settings.Net.ReadTimeout)
	defer quiet.Stop()
	for {
		select {
		case record := <-partition.Messages():
			if record.Offset >= to {
				return found, nil
			}
			select {
			case in.arrived <- arrival{record: record}:
				found++
				in.counts.reread.Add(1)
			case <-quiet.C: // the database is away
				return found, nil
			case <-in.stopped:
				return found, nil
			}
			if record.Offset == to-1 {
				return found, nil
			}
			quiet.Reset(settings.Net.ReadTimeout)
		case err := <-partition.Errors():
			return found, err
		case <-quiet.C: // nothing more comes: what is left are no messages
			return found, nil
		case <-in.stopped:
			return found, nil
		}
	}
}

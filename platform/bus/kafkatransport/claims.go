package kafkatransport

import (
	"context"
	"fmt"
	"math"

	"github.com/IBM/sarama"

	"millrace/platform/bus/store"
	"millrace/platform/errs"
)

// claims hands the records of this member's partitions to the intake, for one
// session.
type claims struct {
	in       *intake
	found    map[string]topic
	begin    map[place]int64
	received map[place]bool  // the database knows how far it is
	renewed  map[place]bool  // it has received from another topic of the name
	group    map[place]int64 // what the group says, if that is more
	restored bool            // the database has less, it seems
}

// Setup begins a session, where the database says that it has everything below.
// The group's own offset is for whoever looks at the brokers: it may be ahead of
// a database that was restored from a backup, it expires, and in another topic of
// the same name it means nothing. (Brokers forget a topic's offsets with the
// topic, but a session that outlives it commits them again.) A database that
// knows nothing of a partition, or has received from another topic of this name,
// begins at the start.
//
// A version of this program that does not know the database's marks leaves them
// behind: then, too, what the group has received is read again, and dropped.
func (c *claims) Setup(session sarama.ConsumerGroupSession) error {
	found, err := c.in.admin.describe(c.in.topics)
	if err != nil {
		return err
	}
	for name := range session.Claims() {
		if _, there := found[name[len(c.in.cfg.Prefix):]]; !there { // as a broker says that has just started: it is no other topic
			return errs.New(errs.Resource, "topic %s is not there at the moment", name)
		}
	}
	marks, err := c.in.to.Checkpoints(session.Context(), c.in.module)
	if err != nil {
		return err
	}
	answer, err := c.in.admin.ListConsumerGroupOffsets(c.in.group(), session.Claims())
	if err != nil {
		return fmt.Errorf("offsets of %s: %w", c.in.group(), err)
	}
	known := map[place]store.Checkpoint{}
	for _, m := range marks {
		known[place{m.Topic, m.Partition}] = m
	}
	c.found, c.begin, c.received, c.group = found, map[place]int64{}, map[place]bool{}, map[place]int64{}
	c.renewed = map[place]bool{}
	resume := map[place]int64{}
	var news []store.Checkpoint
	for name, partitions := range session.Claims() {
		topic := name[len(c.in.cfg.Prefix):]
		now := found[topic].incarnation
		for _, partition := range partitions {
			p := place{topic, partition}
			m, ok := known[p]
			c.received[p], c.renewed[p] = ok && m.TopicID == now, ok && m.TopicID != now
			if ok && m.TopicID != now {
				c.in.log.Error("a topic is not the one it was: it is read from its start", "topic", name, "partition", partition, "offset", m.To)
			}
			if !c.received[p] { // whoever begins has missed nothing
				if m.To, err = c.in.admin.client.GetOffset(name, partition, sarama.OffsetOldest); err != nil {
					return fmt.Errorf("oldest offset: %w", err)
				}
				news = append(news, store.Checkpoint{Topic: topic, Partition: partition, TopicID: now, To: m.To})
			}
			c.begin[p], resume[p] = m.To, m.To
			if block := answer.GetBlock(name, partition); block != nil && block.Offset > m.To && block.Metadata == now {
				c.restored, c.group[p] = true, block.Offset
				c.in.log.Warn("the database knows of less than its group has received, as after a crash or a restored backup, or after a version that did not note it: the rest is read again",
					"topic", name, "partition", partition, "database", m.To, "group", block.Offset)
				oldest, err := c.in.admin.client.GetOffset(name, partition, sarama.OffsetOldest)
				if err != nil {
					return fmt.Errorf("oldest offset: %w", err)
				}
				// What is gone the group does not forget to have received: the next session looks for that, too.
				resume[p] = max(m.To, min(oldest, block.Offset))
			}
		}
	}
	if err := c.in.to.BeginAt(session.Context(), c.in.module, news); err != nil {
		return err
	}
	for p, offset := range resume {
		session.ResetOffset(c.in.cfg.Prefix+p.topic, p.partition, offset, found[p.topic].incarnation) // back
		session.MarkOffset(c.in.cfg.Prefix+p.topic, p.partition, offset, found[p.topic].incarnation)  // or on
	}
	c.in.begins(c.begin)
	c.in.works()
	return nil
}

// Cleanup ends a session.
func (c *claims) Cleanup(sarama.ConsumerGroupSession) error { return nil }

// ConsumeClaim is one partition of a session.
func (c *claims) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	p := place{claim.Topic()[len(c.in.cfg.Prefix):], claim.Partition()}
	incarnation, from := c.found[p.topic].incarnation, c.begin[p]
	gone := c.look(p, from)
	doubtful := int64(0)
	if c.restored {
		newest, err := c.in.admin.client.GetOffset(claim.Topic(), p.partition, sarama.OffsetNewest)
		if err != nil {
			return fmt.Errorf("newest offset: %w", err)
		}
		doubtful = newest
	}
	for {
		select {
		case record, ok := <-claim.Messages():
			if !ok {
				return nil
			}
			a := arrival{session: session, record: record, incarnation: incarnation, from: from, renewed: c.renewed[p], gone: gone, doubtful: record.Offset < doubtful}
			select {
			case c.in.arrived <- a:
				from = record.Offset + 1
			case <-session.Context().Done(): // whoever has the partition next reads it again
				return nil
			}
		case <-session.Context().Done():
			return nil
		}
	}
}

// look logs how many records the brokers no longer have that the database did not get,
// and returns their number.
func (c *claims) look(p place, from int64) (gone int64) {
	if !c.received[p] {
		return 0
	}
	oldest, err := c.in.admin.client.GetOffset(c.in.cfg.Prefix+p.topic, p.partition, sarama.OffsetOldest)
	if err != nil {
		c.in.log.Warn("the oldest record could not be looked for", "topic", p.topic, "partition", p.partition, "error", err.Error())
		return 0
	}
	if oldest <= from {
		return 0
	}
	c.in.counts.gone.Add(oldest - from)
	if c.group[p] >= oldest {
		c.in.log.Warn("records are gone from the brokers that the group has received, and the database perhaps not: what is missing among the messages of a speaker becomes a dead letter",
			"topic", p.topic, "partition", p.partition, "first", from, "last", oldest-1)
		return oldest - from
	}
	c.in.log.Error("records are gone from the brokers that were never received: what is missing among the messages of a speaker becomes a dead letter",
		"topic", p.topic, "partition", p.partition, "first", from, "last", oldest-1)
	return oldest - from
}

// kept returns how far the database is, in the topics that there are.
func (in *intake) kept(ctx context.Context, found map[string]topic, marks func(context.Context, string) ([]store.Checkpoint, error)) (map[place]int64, error) {
	all, err := marks(ctx, in.module)
	if err != nil {
		return nil, err
	}
	at := map[place]int64{}
	for _, m := range all {
		if m.TopicID == found[m.Topic].incarnation {
			at[place{m.Topic, m.Partition}] = m.To
		}
	}
	return at, nil
}

// since is how many records Kafka had, up to this one, since what the database has of
// the partition, with those that were gone when the session began: as many of a sender's
// numbers may be missing. A topic that was created
// again has no relation to the numbers of the one before.
func (in *intake) since(a arrival, marks []store.Checkpoint) int64 {
	if a.renewed {
		return math.MaxInt64
	}
	for _, m := range marks {
		if m.Partition == a.record.Partition && m.TopicID == a.incarnation && m.Topic == a.record.Topic[len(in.cfg.Prefix):] {
			return a.record.Offset - m.From + 1 + a.gone
		}
	}
	return 0
}

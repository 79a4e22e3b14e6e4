package kafkabridge

import (
	"context"
	"fmt"

	"github.com/IBM/sarama"

	"millrace/platform/bus/store"
	"millrace/platform/errs"
)

// consumerSession passes the records of the assigned partitions to the writer, from one
// rebalance to the next.
type consumerSession struct {
	*consumer

	starts   map[topicPartition]start
	restored bool // the database seems to have less than the group received
}

// start is where a session begins to read a partition.
type start struct {
	topicID string
	offset  int64
	known   bool  // the database has received from this topic before
	renewed bool  // it has received from another topic of this name
	group   int64 // the group's committed offset, if the database has less
	resume  int64 // what the session commits until records arrive
}

func newConsumerSession(c *consumer) *consumerSession {
	return &consumerSession{consumer: c, starts: map[topicPartition]start{}}
}

// Setup begins a session at the checkpoints of the database. The group's committed offset is
// there for tools that look at the brokers: it may be ahead of a database that was restored
// from a backup, it expires, and it means nothing in another topic of the same name. (Brokers
// forget a topic's offsets with the topic, but a session that outlives the topic commits them
// again.) A partition without a checkpoint, or whose topic ID has changed, begins at its
// oldest record.
//
// A version of this program that does not know checkpoints leaves them behind the group.
// What the group received meanwhile is read again, too, and dropped.
func (s *consumerSession) Setup(session sarama.ConsumerGroupSession) error {
	found, err := s.admin.describe(s.topics)
	if err != nil {
		return err
	}
	for name := range session.Claims() {
		if _, exists := found[s.cfg.unprefixed(name)]; !exists { // a broker that has just started knows no topics: that is no deletion
			return errs.New(errs.Resource, "topic %s is not known to the broker at the moment", name)
		}
	}
	checkpoints, err := s.checkpoints(session.Context())
	if err != nil {
		return err
	}
	committed, err := s.admin.ListConsumerGroupOffsets(s.group(), session.Claims())
	if err != nil {
		return fmt.Errorf("committed offsets of group %s: %w", s.group(), err)
	}
	var missing []store.Checkpoint
	for name, partitions := range session.Claims() {
		for _, partition := range partitions {
			p := topicPartition{s.cfg.unprefixed(name), partition}
			checkpoint, exists := checkpoints[p]
			from, err := s.startOf(p, found[p.topic].id, checkpoint, exists)
			if err != nil {
				return err
			}
			if !from.known {
				missing = append(missing, store.Checkpoint{Topic: p.topic, Partition: partition, TopicID: from.topicID, To: from.offset})
			}
			if block := committed.GetBlock(name, partition); block != nil && block.Offset > from.offset && block.Metadata == from.topicID {
				if err := s.startBehind(p, &from, block.Offset); err != nil {
					return err
				}
			}
			s.starts[p] = from
		}
	}
	if err := s.inbound.BeginAt(session.Context(), s.module, missing); err != nil {
		return err
	}
	s.seek(session)
	s.health.succeed()
	s.log.Info("consumer group rebalanced: partitions assigned", "partitions", len(s.starts), "generation", session.GenerationID())
	return nil
}

// checkpoints returns the module's checkpoints, of any topic ID.
func (s *consumerSession) checkpoints(ctx context.Context) (map[topicPartition]store.Checkpoint, error) {
	all, err := s.inbound.Checkpoints(ctx, s.module)
	if err != nil {
		return nil, err
	}
	byPartition := map[topicPartition]store.Checkpoint{}
	for _, c := range all {
		byPartition[topicPartition{c.Topic, c.Partition}] = c
	}
	return byPartition, nil
}

// startOf returns where a partition begins: at its checkpoint, or at its oldest record.
func (s *consumerSession) startOf(p topicPartition, topicID string, checkpoint store.Checkpoint, exists bool) (from start, err error) {
	from = start{topicID: topicID, offset: checkpoint.To, known: exists && checkpoint.TopicID == topicID, renewed: exists && checkpoint.TopicID != topicID}
	if from.renewed {
		s.log.Error("topic ID changed: partition read from its oldest record", "topic", s.cfg.Prefix+p.topic, "partition", p.partition, "checkpoint", checkpoint.To)
	}
	if !from.known { // nothing was missed
		from.offset, err = s.admin.offset(p, sarama.OffsetOldest)
	}
	from.resume = from.offset
	return from, err
}

// startBehind is for a checkpoint behind the group's committed offset.
func (s *consumerSession) startBehind(p topicPartition, from *start, committed int64) error {
	s.log.Warn("checkpoint behind the committed offset, as after a database crash, a restored backup or an older version: records are read again",
		"topic", s.cfg.Prefix+p.topic, "partition", p.partition, "checkpoint", from.offset, "committed", committed)
	oldest, err := s.admin.offset(p, sarama.OffsetOldest)
	if err != nil {
		return err
	}
	s.restored, from.group = true, committed
	// The group continues to know that it received what is deleted: the next session compares with it, too.
	from.resume = max(from.offset, min(oldest, committed))
	return nil
}

// seek moves the group's offsets to where the session begins.
func (s *consumerSession) seek(session sarama.ConsumerGroupSession) {
	begin := map[topicPartition]int64{}
	for p, from := range s.starts {
		session.ResetOffset(s.cfg.Prefix+p.topic, p.partition, from.resume, from.topicID) // back
		session.MarkOffset(s.cfg.Prefix+p.topic, p.partition, from.resume, from.topicID)  // or on
		begin[p] = from.offset
	}
	s.stored.reset(begin)
}

// Cleanup ends a session.
func (s *consumerSession) Cleanup(sarama.ConsumerGroupSession) error { return nil }

// ConsumeClaim passes the records of one partition to the writer until the session ends.
func (s *consumerSession) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	p := topicPartition{s.cfg.unprefixed(claim.Topic()), claim.Partition()}
	from := s.starts[p]
	deleted := s.countDeleted(p, from)
	doubtfulBefore := int64(0)
	if s.restored {
		var err error
		if doubtfulBefore, err = s.admin.offset(p, sarama.OffsetNewest); err != nil {
			return err
		}
	}
	for next := from.offset; ; {
		select {
		case record, ok := <-claim.Messages():
			if !ok {
				return nil
			}
			a := arrival{
				session: session, record: record, partition: p, topicID: from.topicID, from: next,
				deleted: deleted, renewed: from.renewed, doubtful: record.Offset < doubtfulBefore,
			}
			select {
			case s.arrived <- a:
				next = record.Offset + 1
			case <-session.Context().Done(): // the next owner of the partition reads it again
				return nil
			}
		case <-session.Context().Done():
			return nil
		}
	}
}

// countDeleted logs and returns how many records the brokers deleted before the database had
// them. What is missing among a module's messages becomes a dead letter.
func (s *consumerSession) countDeleted(p topicPartition, from start) (deleted int64) {
	if !from.known {
		return 0
	}
	oldest, err := s.admin.offset(p, sarama.OffsetOldest)
	if err != nil {
		s.log.Warn("oldest offset not read", "topic", s.cfg.Prefix+p.topic, "partition", p.partition, "error", err.Error())
		return 0
	}
	if oldest <= from.offset {
		return 0
	}
	s.counters.gone.Add(oldest - from.offset)
	log, message := s.log.Error, "records deleted at the brokers before they were received: missing messages become dead letters"
	if from.group >= oldest {
		log, message = s.log.Warn, "records deleted at the brokers that the group received, but perhaps not the database: missing messages become dead letters"
	}
	log(message, "topic", s.cfg.Prefix+p.topic, "partition", p.partition, "first", from.offset, "last", oldest-1)
	return oldest - from.offset
}

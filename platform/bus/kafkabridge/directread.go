package kafkabridge

import (
	"fmt"
	"time"

	"github.com/IBM/sarama"
)

// readDirectly passes a partition's records, from one offset to before another, to the
// writer, outside the group. Those that were received before are dropped there.
func (c *consumer) readDirectly(p topicPartition, from, to int64) (found int, err error) {
	settings, err := c.cfg.consumer()
	if err != nil {
		return 0, err
	}
	settings.ClientID = c.clientID
	settings.Consumer.MaxWaitTime = directWait
	reader, err := sarama.NewConsumer(c.cfg.Brokers, settings)
	if err != nil {
		return 0, c.cfg.unreachable(err)
	}
	defer func() { _ = reader.Close() }() // it has written nothing
	records, err := reader.ConsumePartition(c.cfg.Prefix+p.topic, p.partition, from)
	if err != nil {
		return 0, fmt.Errorf("read %s from offset %d: %w", p, from, err)
	}
	defer func() { _ = records.Close() }() // likewise
	idle := time.NewTimer(settings.Net.ReadTimeout)
	defer idle.Stop()
	for {
		select {
		case record := <-records.Messages():
			if record.Offset >= to {
				return found, nil
			}
			select {
			case c.arrived <- arrival{record: record, partition: p}:
				found++
				c.counters.reread.Add(1)
			case <-idle.C: // the database is away
				return found, nil
			case <-c.stopping.requested:
				return found, nil
			}
			if record.Offset == to-1 {
				return found, nil
			}
			idle.Reset(settings.Net.ReadTimeout)
		case err := <-records.Errors():
			return found, err
		case <-idle.C: // nothing more comes: the offsets that are left are no messages
			return found, nil
		case <-c.stopping.requested:
			return found, nil
		}
	}
}

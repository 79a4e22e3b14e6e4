package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/IBM/sarama"

	"millrace/test/broker"
)

// checkTopic reads a topic of payments from its start to its end: each of the
// payments 0 … want-1 must be there once, those of a key in order.
func (k *kafka) checkTopic(topic string, want int) (err error) {
	settings := broker.Config()
	settings.Consumer.Fetch.Default = 4 << 20
	client, err := sarama.NewClient(k.brokers, settings)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, consumer.Close()) }()
	check := newTopicCheck(want)
	partitions, err := client.Partitions(topic)
	if err != nil {
		return err
	}
	for _, p := range partitions {
		end, err := client.GetOffset(topic, p, sarama.OffsetNewest)
		if err != nil {
			return err
		}
		if end == 0 {
			continue
		}
		records, err := consumer.ConsumePartition(topic, p, sarama.OffsetOldest)
		if err != nil {
			return err
		}
		for record := range records.Messages() {
			if err := check.add(p, record.Value); err != nil {
				return errors.Join(fmt.Errorf("%s, partition %d, offset %d: %w", topic, p, record.Offset, err), records.Close())
			}
			if record.Offset == end-1 {
				break
			}
		}
		if err := records.Close(); err != nil {
			return err
		}
	}
	return check.end()
}

// topicCheck sees payments as they are in the partitions, one after the other.
type topicCheck struct {
	seen []bool
	last []int   // sequence by key, -1 is none
	of   []int32 // partition by key
	n    int
}

func newTopicCheck(want int) *topicCheck {
	c := &topicCheck{seen: make([]bool, want), last: make([]int, keys), of: make([]int32, keys)}
	for i := range c.last {
		c.last[i] = -1
	}
	return c
}

func (c *topicCheck) add(partition int32, payload []byte) error {
	seq, err := sequenceOf(payload)
	if err != nil {
		return err
	}
	if seq < 0 || seq >= len(c.seen) {
		return fmt.Errorf("payment %d was never published", seq)
	}
	key := seq % keys
	switch {
	case c.seen[seq]:
		return fmt.Errorf("payment %d is there twice", seq)
	case c.last[key] > seq:
		return fmt.Errorf("payment %d comes after %d of the same key", seq, c.last[key])
	case c.last[key] >= 0 && c.of[key] != partition:
		return fmt.Errorf("payment %d is in another partition than %d of the same key", seq, c.last[key])
	}
	c.seen[seq], c.last[key], c.of[key] = true, seq, partition
	c.n++
	return nil
}

func (c *topicCheck) end() error {
	if c.n < len(c.seen) {
		return fmt.Errorf("%d of %d payments were not sent", len(c.seen)-c.n, len(c.seen))
	}
	return nil
}

// sequenceOf finds the last field of a payment: to decode all of it would take longer than to send it.
func sequenceOf(payload []byte) (int, error) {
	const field = `"sequence":`
	at := bytes.LastIndex(payload, []byte(field))
	if at < 0 {
		return 0, fmt.Errorf("no payment: %.60q", payload)
	}
	return strconv.Atoi(string(bytes.TrimRight(payload[at+len(field):], "}\n")))
}

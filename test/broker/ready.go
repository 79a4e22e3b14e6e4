package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
)

// Config returns a sarama configuration with short timeouts and without retries. It is
// for queries of tests, not for transporting messages.
func Config() *sarama.Config {
	c := sarama.NewConfig()
	c.Version = sarama.V3_6_0_0
	c.Net.DialTimeout, c.Net.ReadTimeout, c.Net.WriteTimeout = 2*time.Second, 5*time.Second, 5*time.Second
	c.Metadata.Retry.Max = 0
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Return.Successes = true
	c.Producer.Retry.Max = 0
	c.Consumer.MaxWaitTime = 50 * time.Millisecond
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	return c
}

// serves waits until the probe of each broker succeeds.
func (c *Cluster) serves(ctx context.Context, nodes ...*node) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	for _, n := range nodes {
		group.Go(func() error {
			var last error
			err := poll(ctx, 50*time.Millisecond, func() (bool, error) {
				if !n.running() {
					return false, errors.New("it ended instead of serving")
				}
				last = c.probe(n)
				return last == nil, nil
			})
			if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
				err = fmt.Errorf("it does not serve: %w (%w)", last, err)
			}
			if err != nil {
				return fmt.Errorf("broker %d: %w", n.index, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// probe checks one broker: a topic with its only replica there can be created, written
// and read; the coordinator of a group is known; and the broker is in sync for all
// its replicas.
func (c *Cluster) probe(n *node) error {
	config := Config()
	config.Producer.Partitioner = sarama.NewManualPartitioner
	client, err := sarama.NewClient([]string{c.at[n.index][plain]}, config)
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // only used for queries
	self, err := client.Controller()
	if err != nil {
		return err
	}
	admin, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		return err
	}
	own := fmt.Sprintf("probe-%d-", n.index)
	topic := own + uuid.NewString()
	one := "1"
	detail := &sarama.TopicDetail{
		ReplicaAssignment: map[int32][]int32{0: {int32(n.index + 1)}}, NumPartitions: -1, ReplicationFactor: -1,
		ConfigEntries: map[string]*string{"min.insync.replicas": &one},
	}
	if err := admin.CreateTopic(topic, detail, false); err != nil {
		return err
	}
	if err := roundTrip(client, topic); err != nil {
		return err
	}
	if err := hasCoordinator(self); err != nil {
		return err
	}
	if err := inSync(self, int32(n.index+1)); err != nil {
		return err
	}
	return removeTopics(client, admin, own)
}

// removeTopics deletes all topics with the prefix, including those of earlier probes: a
// topic may have been created although the probe's request timed out.
func removeTopics(client sarama.Client, admin sarama.ClusterAdmin, prefix string) error {
	if err := client.RefreshMetadata(); err != nil {
		return err
	}
	all, err := client.Topics()
	if err != nil {
		return err
	}
	for _, topic := range all {
		if !strings.HasPrefix(topic, prefix) {
			continue
		}
		if err := admin.DeleteTopic(topic); err != nil && !errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
			return err
		}
	}
	return nil
}

func roundTrip(client sarama.Client, topic string) error {
	// The leader is elected a moment after the topic is created.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := poll(ctx, 10*time.Millisecond, func() (bool, error) {
		if err := client.RefreshMetadata(topic); err != nil {
			return false, nil //nolint:nilerr // poll tries again
		}
		_, err := client.Leader(topic, 0)
		return err == nil, nil
	}); err != nil {
		return fmt.Errorf("%s has no leader: %w", topic, err)
	}
	producer, err := sarama.NewSyncProducerFromClient(client)
	if err != nil {
		return err
	}
	defer producer.Close() //nolint:errcheck // its only message was acknowledged
	if _, _, err := producer.SendMessage(&sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder("probe")}); err != nil {
		return err
	}
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		return err
	}
	defer consumer.Close() //nolint:errcheck // only used for reading
	read, err := consumer.ConsumePartition(topic, 0, sarama.OffsetOldest)
	if err != nil {
		return err
	}
	defer read.Close() //nolint:errcheck // as above
	select {
	case <-read.Messages():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: what was written is not read: %w", topic, ctx.Err())
	}
}

// hasCoordinator queries until a coordinator is known: the first query creates
// __consumer_offsets. The client's own retry would sleep two seconds.
func hasCoordinator(ask *sarama.Broker) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var last sarama.KError
	err := poll(ctx, 20*time.Millisecond, func() (bool, error) {
		answer, err := ask.FindCoordinator(&sarama.FindCoordinatorRequest{Version: 1, CoordinatorKey: "probe", CoordinatorType: sarama.CoordinatorGroup})
		if err != nil {
			return false, err
		}
		last = answer.Err
		return last == sarama.ErrNoError, nil
	})
	if err != nil {
		return fmt.Errorf("no coordinator: %w, %w", last, err)
	}
	return nil
}

// inSync returns an error if the broker with this id has replicas that are not in sync.
func inSync(ask *sarama.Broker, id int32) error {
	all, err := ask.GetMetadata(sarama.NewMetadataRequest(sarama.V3_6_0_0, nil))
	if err != nil {
		return err
	}
	var behind []string
	for _, topic := range all.Topics {
		if strings.HasPrefix(topic.Name, "probe-") {
			continue // of another broker's probe, perhaps being deleted
		}
		for _, p := range topic.Partitions {
			if slices.Contains(p.Replicas, id) && !slices.Contains(p.Isr, id) {
				behind = append(behind, fmt.Sprintf("%s/%d", topic.Name, p.ID))
			}
		}
	}
	if behind != nil {
		return fmt.Errorf("not in sync: %s", strings.Join(behind, ", "))
	}
	return nil
}

// Leader returns the number of the broker that leads a partition, according to any
// broker that answers.
func (c *Cluster) Leader(topic string, partition int32) (int, error) {
	return c.ask(func(client sarama.Client) (*sarama.Broker, error) { return client.Leader(topic, partition) })
}

// Coordinator returns the number of the broker that coordinates a consumer group.
func (c *Cluster) Coordinator(group string) (int, error) {
	return c.ask(func(client sarama.Client) (*sarama.Broker, error) { return client.Coordinator(group) })
}

// ask queries until it gets an answer: an election may be in progress.
func (c *Cluster) ask(who func(sarama.Client) (*sarama.Broker, error)) (index int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	var last error
	err = poll(ctx, 100*time.Millisecond, func() (bool, error) {
		client, err := sarama.NewClient(c.Brokers(), Config())
		if err != nil {
			last = err
			return false, nil
		}
		defer client.Close() //nolint:errcheck // only used for a query
		found, err := who(client)
		if err != nil {
			last = err
			return false, nil
		}
		index, last = int(found.ID())-1, nil
		return true, nil
	})
	return index, errors.Join(err, last)
}

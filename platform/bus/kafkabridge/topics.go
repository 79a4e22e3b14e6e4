package kafkabridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

// readyWithin is how long a new topic may take until its partitions have leaders.
const readyWithin = 15 * time.Second

// topicAdmin describes and creates topics, and asks the brokers about offsets and groups.
type topicAdmin struct {
	cfg Config
	sarama.ClusterAdmin
	client sarama.Client
}

func newTopicAdmin(cfg Config) (*topicAdmin, error) {
	settings, err := cfg.client()
	if err != nil {
		return nil, err
	}
	client, err := sarama.NewClient(cfg.Brokers, settings)
	if err != nil {
		return nil, cfg.unreachable(err)
	}
	cluster, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		_ = client.Close() // the first error is the one to return
		return nil, cfg.unreachable(err)
	}
	return &topicAdmin{cfg, cluster, client}, nil
}

// topic describes a topic.
type topic struct {
	id         string // Kafka's topic ID; one that was deleted and created again has another
	partitions int
	replicas   int
	ready      bool // every partition has a leader
}

// describe returns the topics that exist, by their names without the prefix.
func (a *topicAdmin) describe(names []string) (map[string]topic, error) {
	full := make([]string, len(names))
	for i, name := range names {
		full[i] = a.cfg.Prefix + name
	}
	answers, err := a.DescribeTopics(full)
	if err != nil {
		return nil, a.cfg.unreachable(err)
	}
	found := map[string]topic{}
	for _, answer := range answers {
		switch {
		case errors.Is(answer.Err, sarama.ErrUnknownTopicOrPartition):
			continue
		case !errors.Is(answer.Err, sarama.ErrNoError) && !errors.Is(answer.Err, sarama.ErrLeaderNotAvailable):
			return nil, errs.New(errs.Resource, "topic %s: %w", answer.Name, answer.Err)
		}
		t := topic{id: answer.Uuid.String(), partitions: len(answer.Partitions), ready: len(answer.Partitions) > 0}
		for _, p := range answer.Partitions {
			t.ready = t.ready && p.Leader >= 0
			t.replicas = max(t.replicas, len(p.Replicas))
		}
		found[a.cfg.unprefixed(answer.Name)] = t
	}
	return found, nil
}

// create creates missing topics, and waits until all partitions have leaders.
func (a *topicAdmin) create(ctx context.Context, names []string) (map[string]topic, error) {
	found, err := a.describe(names)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if _, exists := found[name]; exists {
			continue
		}
		failpoint.Here("topics.missing")
		err := a.CreateTopic(a.cfg.Prefix+name, &sarama.TopicDetail{
			NumPartitions: int32(a.cfg.Partitions), ReplicationFactor: int16(a.cfg.Replication), ConfigEntries: a.cfg.topicSettings(),
		}, false)
		if err != nil && !errors.Is(err, sarama.ErrTopicAlreadyExists) { // another process may create it at the same time
			return nil, errs.New(errs.Resource, "create topic %s with %d partitions and %d replicas: %w", a.cfg.Prefix+name, a.cfg.Partitions, a.cfg.Replication, err)
		}
		failpoint.Here("topics.created")
		if err == nil {
			a.cfg.Logger.Info("topic created", "topic", a.cfg.Prefix+name, "partitions", a.cfg.Partitions, "replicas", a.cfg.Replication)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if found, err = a.describe(names); err != nil {
			return nil, err
		}
		missing := ""
		for _, name := range names {
			if !found[name].ready {
				missing = name
			}
		}
		if missing == "" {
			return found, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, errs.New(errs.Resource, "topic %s has partitions without a leader", a.cfg.Prefix+missing)
		}
	}
}

// offset returns a partition's oldest or newest offset.
func (a *topicAdmin) offset(p topicPartition, which int64) (int64, error) {
	offset, err := a.client.GetOffset(a.cfg.Prefix+p.topic, p.partition, which)
	if err != nil {
		return 0, fmt.Errorf("read the offsets of %s: %w", p, err)
	}
	return offset, nil
}

// close closes the connections, and does not wait for brokers that do not answer.
func (a *topicAdmin) close() {
	go func() { _ = a.Close() }() // nothing was written that the error could be about
}

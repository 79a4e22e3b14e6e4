package kafkatransport

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"time"

	"github.com/IBM/sarama"

	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/platform/failpoint"
)

// largest is how many bytes of a record a topic must take: a payload, its key,
// its headers and the batch around them.
const largest = bus.MaxPayload + 16<<10

// readyWithin is how long a new topic may take until its partitions have leaders.
const readyWithin = 15 * time.Second

// topicAdmin looks at the topics, and makes those that are missing.
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
		_ = client.Close() // the first error is the one to tell
		return nil, cfg.unreachable(err)
	}
	return &topicAdmin{cfg, cluster, client}, nil
}

// topic is what is looked at of one.
type topic struct {
	incarnation string // the broker's id of it: another one is another topic
	partitions  int
	replicas    int
	ready       bool // every partition has a leader
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
		t := topic{incarnation: answer.Uuid.String(), partitions: len(answer.Partitions), ready: len(answer.Partitions) > 0}
		for _, p := range answer.Partitions {
			t.ready = t.ready && p.Leader >= 0
			t.replicas = max(t.replicas, len(p.Replicas))
		}
		found[answer.Name[len(a.cfg.Prefix):]] = t
	}
	return found, nil
}

// settings are those of a new topic. Events are kept for ever, commands until
// they are received; nothing is dropped by age, size or key.
func (a *topicAdmin) settings() map[string]*string {
	s := map[string]string{
		"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1",
		"unclean.leader.election.enable": "false", "max.message.bytes": strconv.Itoa(maxRecord + 1<<10),
	}
	if a.cfg.Replication >= 3 {
		s["min.insync.replicas"] = "2"
	}
	entries := map[string]*string{}
	for name, value := range s {
		entries[name] = &value
	}
	return entries
}

// create makes the topics that are not there, and waits for their leaders.
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
			NumPartitions: int32(a.cfg.Partitions), ReplicationFactor: int16(a.cfg.Replication), ConfigEntries: a.settings(),
		}, false)
		if err != nil && !errors.Is(err, sarama.ErrTopicAlreadyExists) { // another process may do it this moment
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

// check compares the topics' settings with what the promises need. It refuses
// what would lose messages, naming topic, setting and remedy, and warns of what
// makes losing them more likely.
func (a *topicAdmin) check(names []string, found map[string]topic) error {
	resources := make([]*sarama.ConfigResource, len(names))
	for i, name := range names {
		resources[i] = &sarama.ConfigResource{Type: sarama.TopicResource, Name: a.cfg.Prefix + name}
	}
	answers, err := a.DescribeConfigs(resources, sarama.DescribeConfigsOptions{})
	if err != nil {
		return a.cfg.unreachable(err)
	}
	var faults []error
	for _, answer := range answers {
		full := answer.Name
		name := full[len(a.cfg.Prefix):]
		if answer.ErrorCode != sarama.ErrNoError {
			a.cfg.Logger.Warn("the settings of a topic may not be read, so they are not checked", "topic", full, "error", answer.ErrorCode.Error())
			continue
		}
		set := map[string]string{}
		for _, e := range answer.Configs {
			set[e.Name] = e.Value
		}
		refusals, warnings := a.judge(found[name], set)
		for _, why := range refusals {
			faults = append(faults, errs.InvalidField("topic "+full, "%s", why))
		}
		for _, why := range warnings {
			a.cfg.Logger.Warn("a topic differs from what is recommended", slog.String("topic", full), slog.String("why", why))
		}
	}
	return errors.Join(faults...)
}

func (a *topicAdmin) judge(t topic, set map[string]string) (refusals, warnings []string) {
	refuse := func(why string) { refusals = append(refusals, why) }
	warn := func(why string) { warnings = append(warnings, why) }
	number := func(name string) (n int64, ok bool) {
		n, err := strconv.ParseInt(set[name], 10, 64)
		return n, err == nil
	}
	if policy := set["cleanup.policy"]; policy != "" && policy != "delete" {
		refuse("cleanup.policy is " + policy + ", which drops messages of a key: set it to delete")
	}
	if ms, ok := number("retention.ms"); ok && ms >= 0 {
		refuse("retention.ms is " + set["retention.ms"] + ", which drops messages that somebody may not have received: set it to -1")
	}
	if bytes, ok := number("retention.bytes"); ok && bytes >= 0 {
		refuse("retention.bytes is " + set["retention.bytes"] + ", which drops messages that somebody may not have received: set it to -1")
	}
	if size, ok := number("max.message.bytes"); ok && size < largest {
		refuse("max.message.bytes is " + set["max.message.bytes"] + ", and a message may have " + strconv.Itoa(largest) + ": set it to 1049600")
	}
	insync, ok := number("min.insync.replicas")
	if ok && int(insync) > t.replicas {
		refuse("min.insync.replicas is " + set["min.insync.replicas"] + " with " + strconv.Itoa(t.replicas) + " replicas, so nothing can be written: set it to " + strconv.Itoa(max(1, t.replicas-1)))
	}
	if ok && insync < 2 && t.replicas > 1 {
		warn("min.insync.replicas is 1: a confirmed message may be on one broker only, and be lost with it; 2 is right")
	}
	if t.replicas < a.cfg.Replication {
		warn("it has " + strconv.Itoa(t.replicas) + " replicas, " + strconv.Itoa(a.cfg.Replication) + " are configured")
	}
	if set["unclean.leader.election.enable"] == "true" {
		warn("unclean.leader.election.enable is true: a broker that missed confirmed messages may become the leader")
	}
	if t.partitions != a.cfg.Partitions {
		warn("it has " + strconv.Itoa(t.partitions) + " partitions, " + strconv.Itoa(a.cfg.Partitions) + " are configured; the topic's number is used")
	}
	if !powerOfTwo(t.partitions) {
		warn("it has " + strconv.Itoa(t.partitions) + " partitions, no power of two up to 64: each of our 64 is spread over several of them")
	}
	return refusals, warnings
}

// close ends the connections, but does not wait for brokers that do not answer.
func (a *topicAdmin) close() {
	go func() { _ = a.Close() }() // it was only asked
}

package kafkabridge

import (
	"errors"
	"log/slog"
	"strconv"

	"github.com/IBM/sarama"

	"millrace/platform/bus"
	"millrace/platform/errs"
)

// largest is how many bytes of a record a topic must accept: a payload, its key, its headers
// and the batch around them.
const largest = bus.MaxPayload + 16<<10

// topicSettings are the settings of a new topic. Events are kept without a limit, commands
// until they are received; nothing is deleted by age, size or key.
func (c Config) topicSettings() map[string]*string {
	s := map[string]string{
		"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1",
		"unclean.leader.election.enable": "false", "max.message.bytes": strconv.Itoa(maxRecord + 1<<10),
	}
	if c.Replication >= 3 {
		s["min.insync.replicas"] = "2"
	}
	entries := map[string]*string{}
	for name, value := range s {
		entries[name] = &value
	}
	return entries
}

// check compares the settings of topics with what the promises need. Settings that lose
// messages are errors, which name topic, setting and remedy. Settings that make a loss more
// likely are logged.
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
		name := a.cfg.unprefixed(full)
		if answer.ErrorCode != sarama.ErrNoError {
			a.cfg.Logger.Warn("topic settings not checked: they may not be read", "topic", full, "error", answer.ErrorCode.Error())
			continue
		}
		set := map[string]string{}
		for _, e := range answer.Configs {
			set[e.Name] = e.Value
		}
		refusals, warnings := a.cfg.compareSettings(found[name], set)
		for _, why := range refusals {
			faults = append(faults, errs.InvalidField("topic "+full, "%s", why))
		}
		for _, why := range warnings {
			a.cfg.Logger.Warn("topic settings not as recommended", slog.String("topic", full), slog.String("why", why))
		}
	}
	return errors.Join(faults...)
}

// compareSettings returns what is wrong with a topic, and what is not recommended.
func (c Config) compareSettings(t topic, set map[string]string) (refusals, warnings []string) {
	refuse := func(why string) { refusals = append(refusals, why) }
	warn := func(why string) { warnings = append(warnings, why) }
	number := func(name string) (n int64, ok bool) {
		n, err := strconv.ParseInt(set[name], 10, 64)
		return n, err == nil
	}
	if policy := set["cleanup.policy"]; policy != "" && policy != "delete" {
		refuse("cleanup.policy is " + policy + ", which deletes messages of a key: set it to delete")
	}
	if ms, ok := number("retention.ms"); ok && ms >= 0 {
		refuse("retention.ms is " + set["retention.ms"] + ", which deletes messages that may not have been received: set it to -1")
	}
	if bytes, ok := number("retention.bytes"); ok && bytes >= 0 {
		refuse("retention.bytes is " + set["retention.bytes"] + ", which deletes messages that may not have been received: set it to -1")
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
	if t.replicas < c.Replication {
		warn("it has " + strconv.Itoa(t.replicas) + " replicas, " + strconv.Itoa(c.Replication) + " are configured")
	}
	if set["unclean.leader.election.enable"] == "true" {
		warn("unclean.leader.election.enable is true: a broker that missed confirmed messages may become the leader")
	}
	if t.partitions != c.Partitions {
		warn("it has " + strconv.Itoa(t.partitions) + " partitions, " + strconv.Itoa(c.Partitions) + " are configured; the topic's number is used")
	}
	if !powerOfTwo(t.partitions) {
		warn("it has " + strconv.Itoa(t.partitions) + " partitions, no power of two up to 64: each of our 64 is spread over several of them")
	}
	return refusals, warnings
}

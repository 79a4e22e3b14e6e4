package kafkabridge

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"millrace/platform/errs"
)

// Remove deletes every topic and every consumer group whose name begins with the prefix, which
// must not be empty. It is for an installation that is not used any more.
//
// WARNING: all its messages at the brokers are lost.
//
// Its processes must have ended: a running one creates its topics again. A group whose member
// was killed can be deleted when its session has ended; Remove waits for that until ctx ends.
// Topics and groups that do not exist are no error.
func Remove(ctx context.Context, cfg Config) (err error) {
	defer errs.Wrap(&err, "remove the topics %s* and their consumer groups", cfg.Prefix)
	if cfg.Prefix == "" {
		return errs.New(errs.Invalid, "the prefix is empty: that would delete every topic and group of the cluster")
	}
	if err := cfg.Validate(); err != nil {
		return err
	}
	a, err := newTopicAdmin(cfg.withDefaults())
	if err != nil {
		return err
	}
	defer a.close()
	groups, err := a.ListConsumerGroups()
	if err != nil {
		return cfg.unreachable(err)
	}
	for group := range groups {
		if strings.HasPrefix(group, cfg.Prefix) {
			if err := a.removeGroup(ctx, group); err != nil {
				return err
			}
		}
	}
	if err := a.client.RefreshMetadata(); err != nil {
		return cfg.unreachable(err)
	}
	topics, err := a.client.Topics()
	if err != nil {
		return cfg.unreachable(err)
	}
	for _, topic := range topics {
		if !strings.HasPrefix(topic, cfg.Prefix) {
			continue
		}
		if err := a.DeleteTopic(topic); err != nil && !errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
			return fmt.Errorf("topic %s: %w", topic, err)
		}
	}
	return ctx.Err()
}

func (a *topicAdmin) removeGroup(ctx context.Context, group string) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := a.DeleteConsumerGroup(group)
		if err == nil || errors.Is(err, sarama.ErrGroupIDNotFound) {
			return nil
		}
		if !errors.Is(err, sarama.ErrNonEmptyGroup) {
			return fmt.Errorf("group %s: %w", group, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("group %s: %w", group, err)
		}
	}
}

package kafkabridge

import (
	"fmt"
	"time"

	"github.com/IBM/sarama"
	"github.com/xdg-go/scram"

	"millrace/platform/errs"
)

// maxRecord is how large a record may be for a broker with default settings: key, value,
// headers and the batch around them. A payload is at most 256 KiB.
const maxRecord = 1 << 20

// How long a fetch waits at the brokers for records.
const (
	groupWait  = 250 * time.Millisecond
	directWait = 100 * time.Millisecond // outside the group, see readDirectly
)

// client returns the settings that all connections share. What differs from the library's
// defaults has its reason next to it.
func (c Config) client() (*sarama.Config, error) {
	s := sarama.NewConfig()
	s.ClientID = "millrace"
	s.Version = sarama.V3_6_0_0
	s.Net.DialTimeout = 5 * time.Second
	s.Net.ReadTimeout = 10 * time.Second // a broker that hangs delays a shutdown for so long at most
	s.Net.WriteTimeout = 10 * time.Second
	s.Metadata.RefreshFrequency = 30 * time.Second // the default is 10 minutes, and partitions that were added are not read before
	s.Metadata.AllowAutoTopicCreation = false      // else a deleted topic comes back with other settings, and nothing reports it
	if c.TLS != nil {
		config, err := c.TLS.config()
		if err != nil {
			return nil, err
		}
		s.Net.TLS.Enable, s.Net.TLS.Config = true, config
	}
	if c.SASL != nil {
		s.Net.SASL.Enable = true
		s.Net.SASL.User, s.Net.SASL.Password = c.SASL.User, c.SASL.Password
		s.Net.SASL.Mechanism = sarama.SASLMechanism(c.SASL.Mechanism)
		if c.SASL.Mechanism == Plain && c.TLS == nil {
			s.Net.Proxy.Enable, s.Net.Proxy.Dialer = true, localDialer{s.Net.DialTimeout}
		}
		switch c.SASL.Mechanism {
		case ScramSHA256:
			s.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &conversation{hash: scram.SHA256} }
		case ScramSHA512:
			s.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &conversation{hash: scram.SHA512} }
		}
	}
	return s, nil
}

// producer returns the settings of producers: no acknowledged record is lost, and the library
// itself repeats and reorders none. Its defaults lost 6 of 60,000 acknowledged records when
// one broker of three was killed twice.
func (c Config) producer() (*sarama.Config, error) {
	s, err := c.client()
	if err != nil {
		return nil, err
	}
	s.Producer.RequiredAcks = sarama.WaitForAll
	s.Producer.Idempotent = true
	s.Net.MaxOpenRequests = 1
	s.Producer.Return.Successes = true
	s.Producer.Partitioner = sarama.NewMurmur2Partitioner // as Java's; the default one agrees with it for 6 of 64 keys
	s.Producer.MaxMessageBytes = maxRecord
	// A minute: idempotence ends where an error is returned, since the next attempt is a new
	// record. The lower one of the two decides.
	s.Producer.Retry.Max, s.Producer.Retry.Backoff = 240, 250*time.Millisecond
	s.Metadata.Retry.Max, s.Metadata.Retry.Backoff = 240, 250*time.Millisecond
	return s, nil
}

// consumer returns the settings of consumers.
func (c Config) consumer() (*sarama.Config, error) {
	s, err := c.client()
	if err != nil {
		return nil, err
	}
	s.Consumer.Return.Errors = true                  // they are logged
	s.Consumer.Offsets.Initial = sarama.OffsetOldest // with newest, a new group, or one whose offset expired, misses what is there
	s.Consumer.Group.Session.Timeout, s.Consumer.Group.Heartbeat.Interval = c.Session, c.Session/6
	// A join is answered when every member has joined, or after this time. It must be shorter
	// than the read timeout: else a member that waits for a killed one gives up, tries again,
	// and leaves another dead member. No handler runs here, so there is nothing to finish first.
	s.Consumer.Group.Rebalance.Timeout = c.Session
	s.Consumer.MaxWaitTime = groupWait
	s.Consumer.Fetch.Default = 128 << 10 // for each partition, so much stays in memory until it is stored
	return s, nil
}

// conversation is a sarama.SCRAMClient.
type conversation struct {
	hash scram.HashGeneratorFcn
	*scram.ClientConversation
}

func (c *conversation) Begin(user, password, authorization string) error {
	client, err := c.hash.NewClient(user, password, authorization)
	if err != nil {
		return fmt.Errorf("SASL: %w", err)
	}
	c.ClientConversation = client.NewConversation()
	return nil
}

// unreachable is the error of brokers that do not answer.
func (c Config) unreachable(err error) error {
	how := "in plaintext"
	if c.TLS != nil {
		how = "with TLS"
	}
	return errs.New(errs.Resource, "the brokers %v do not answer %s: %w", c.Brokers, how, err)
}

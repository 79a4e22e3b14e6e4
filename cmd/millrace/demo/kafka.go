package demo

import (
	"context"
	"strconv"
	"strings"
	"time"

	"millrace/cmd/millrace/app"
	"millrace/config"
	"millrace/platform/bus/kafkabridge/fakebroker"
)

// joinKafka gives the serving program its brokers, if messages travel by Kafka: the
// configured ones, or a broker in this process, which survives the kills. Because
// the database is fresh, the topics must be, too.
func (s *stage) joinKafka() (err error) {
	if s.serving.Transport != config.OnKafka {
		return nil
	}
	s.serving.Kafka.Prefix += "demo-" + strconv.FormatInt(time.Now().UnixNano(), 36) + "-"
	if len(s.serving.Kafka.Brokers) > 0 {
		return nil
	}
	if s.broker, err = fakebroker.Start(); err != nil {
		return err
	}
	s.serving.Kafka.Brokers = s.broker.Addresses()
	return nil
}

// leaveKafka stops the broker of this process, or deletes the topics and groups of
// this run at the configured brokers. No process serves any more, but the brokers
// need some seconds to notice the end of a killed process.
func (s *stage) leaveKafka() error {
	if s.serving.Transport != config.OnKafka || len(s.serving.Kafka.Brokers) == 0 {
		return nil
	}
	if s.broker != nil {
		s.broker.Close()
		return nil
	}
	const longest = 30 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), longest) // the context of the run may have ended
	defer cancel()
	return app.RemoveTopics(ctx, s.serving, s.log)
}

// travels describes the transport.
func (s *stage) travels() string {
	switch {
	case s.serving.Transport != config.OnKafka:
		return "PostgreSQL"
	case s.broker != nil:
		return "Kafka's protocol and a fake broker in this process, which proves nothing about Kafka's durability"
	}
	return "Kafka (" + strings.Join(s.serving.Kafka.Brokers, ", ") + "), topics " + s.serving.Kafka.Prefix + "*, which are removed at the end"
}

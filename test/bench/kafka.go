package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"time"

	"github.com/IBM/sarama"

	"millrace/platform/privatedir"
	"millrace/test/broker"
)

// kafka is what the measures on Kafka need of brokers.
type kafka struct {
	brokers []string
	cluster *broker.Cluster // nil for brokers that somebody else started
	took    time.Duration   // to start
}

const kafkaPartitions = 8 // of every topic

// missingKafka returns what must be installed first, or "".
func missingKafka() string {
	java := "java"
	if home := os.Getenv("JAVA_HOME"); home != "" {
		java = filepath.Join(home, "bin", "java")
	}
	if _, err := exec.LookPath(java); err != nil {
		return "Java 17 or newer"
	}
	if _, err := exec.LookPath("mvn"); err == nil {
		return ""
	}
	// Maven fetches the jars, once.
	if cache, err := privatedir.Cache("kafka-" + broker.Version); err == nil {
		if _, err := os.Stat(filepath.Join(cache, "jars")); err == nil {
			return ""
		}
	}
	return "Maven"
}

// onBrokers hands over the brokers of the run, which it starts before their
// first use. Where they cannot be had, the measure is left out and the report
// notes it.
func (r *run) onBrokers(ctx context.Context, f func(k *kafka) error) error {
	if r.kafka == nil {
		if missing := missingKafka(); missing != "" {
			r.found.note("The measures on Kafka were left out: a real broker needs " + missing + ", which is not installed here")
			return nil
		}
		started := time.Now()
		cluster, err := broker.Open(ctx, broker.Options{Partitions: kafkaPartitions})
		if err != nil {
			return err
		}
		r.kafka = &kafka{brokers: cluster.Brokers(), cluster: cluster, took: time.Since(started)}
		r.found.note(fmt.Sprintf("One real broker, Apache Kafka %s, %d partitions a topic, acks=all, started in %.1f s, on the same cores",
			broker.Version, kafkaPartitions, r.kafka.took.Seconds()))
	}
	return f(r.kafka)
}

func (k *kafka) stop() error {
	if k == nil || k.cluster == nil {
		return nil
	}
	return k.cluster.Close()
}

// prefixOf makes the topics and groups of one contender its own: databases have
// names of their own too.
func prefixOf(database string) string {
	u, err := url.Parse(database)
	if err != nil {
		panic(err) // the benchmark's own server made it
	}
	return path.Base(u.Path) + "."
}

// admin calls f with an administration client of the brokers.
func (k *kafka) admin(f func(sarama.ClusterAdmin) error) error {
	admin, err := sarama.NewClusterAdmin(k.brokers, broker.Config())
	if err != nil {
		return err
	}
	return errors.Join(f(admin), admin.Close())
}

func (k *kafka) create(topic string) error {
	return k.admin(func(a sarama.ClusterAdmin) error {
		return a.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: kafkaPartitions, ReplicationFactor: 1}, false)
	})
}

// remove frees the disk; a topic that is not there is no error.
func (k *kafka) remove(topic string) error {
	return k.admin(func(a sarama.ClusterAdmin) error {
		if err := a.DeleteTopic(topic); err != nil && !errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
			return err
		}
		return nil
	})
}

package app

import (
	"context"
	"log/slog"
	"os"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"

	"millrace/config"
	"millrace/platform/bus"
	"millrace/platform/bus/kafkabridge"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/errs"
)

// transport moves messages between modules. The configuration selects one;
// nothing outside this file depends on which.
type transport interface {
	DB(module string) *bus.DB
	Subscriber(module string) message.Subscriber
	Healthy() error
	Paused() error
	Flowing() error
	Drain(ctx context.Context) error
	Close() error
}

func openTransport(ctx context.Context, cfg config.Config, url string, topology *bus.Topology, hosted []string, log *slog.Logger) (transport, error) {
	inDatabase := sqltransport.Config{
		URL: url, RolePrefix: cfg.Database.RolePrefix, MaxConnsPerModule: cfg.Database.MaxConnsPerModule,
		Workers: cfg.Bus.Workers, LeaseTTL: cfg.Bus.LeaseTTL, Backoff: cfg.Bus.Backoff, Logger: log,
	}
	if cfg.Transport == config.Postgres {
		t, err := sqltransport.Open(ctx, inDatabase, topology, hosted)
		if err != nil {
			return nil, err
		}
		return still{t}, nil
	}
	onKafka, err := kafkaConfig(cfg.Kafka, log)
	if err != nil {
		return nil, err
	}
	t, err := kafkabridge.Open(ctx, onKafka, inDatabase, topology, hosted)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// RemoveTopics deletes the topics and consumer groups of an installation that no
// longer runs.
//
// WARNING: it deletes everything at the brokers with the configured prefix, which
// must not be empty.
func RemoveTopics(ctx context.Context, cfg config.Config, log *slog.Logger) error {
	onKafka, err := kafkaConfig(cfg.Kafka, log)
	if err != nil {
		return err
	}
	return kafkabridge.Remove(ctx, onKafka)
}

// still is a transport without a bridge, which could not stall.
type still struct{ *sqltransport.Transport }

func (still) Flowing() error { return nil }

// kafkaConfig returns the transport's settings, and reads the files that they name.
func kafkaConfig(k config.Kafka, log *slog.Logger) (kafkabridge.Config, error) {
	c := kafkabridge.Config{Brokers: k.Brokers, Prefix: k.Prefix, Partitions: k.Partitions, Replication: k.Replication, Logger: log}
	var err error
	read := func(setting, path string) (content []byte) {
		if path != "" && err == nil {
			if content, err = os.ReadFile(path); err != nil {
				err = errs.InvalidField(setting, "cannot be read: %s", err)
			}
		}
		return content
	}
	if k.TLS.Enabled {
		c.TLS = &kafkabridge.TLS{
			CA:          read("kafka.tls.ca_file", k.TLS.CAFile),
			Certificate: read("kafka.tls.certificate_file", k.TLS.CertificateFile),
			Key:         read("kafka.tls.key_file", k.TLS.KeyFile),
		}
	}
	if k.SASL.Mechanism != "" {
		password := k.SASL.Password.Reveal()
		if k.SASL.PasswordFile != "" {
			password = strings.TrimRight(string(read("kafka.sasl.password_file", k.SASL.PasswordFile)), "\r\n")
		}
		c.SASL = &kafkabridge.SASL{Mechanism: k.SASL.Mechanism, User: k.SASL.User, Password: password}
	}
	return c, err
}

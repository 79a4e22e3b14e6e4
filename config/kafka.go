package config

import (
	"math/bits"
	"net"
	"os"
	"strings"
)

// Kafka is the cluster that carries the messages, with transport: kafka.
type Kafka struct {
	Brokers     []string  `koanf:"brokers"`     // host:port, two or three to begin with
	Prefix      string    `koanf:"prefix"`      // before every topic's and group's name; for ever
	Partitions  int       `koanf:"partitions"`  // of a topic that is created: a power of two, at most 64; for ever
	Replication int       `koanf:"replication"` // how many brokers keep each record
	TLS         KafkaTLS  `koanf:"tls"`
	SASL        KafkaSASL `koanf:"sasl"`
}

// KafkaTLS encrypts the connections to the brokers.
type KafkaTLS struct {
	Enabled         bool   `koanf:"enabled"`
	CAFile          string `koanf:"ca_file"`          // PEM: the authorities to believe; empty: the system's
	CertificateFile string `koanf:"certificate_file"` // PEM: our own; empty: none
	KeyFile         string `koanf:"key_file"`
}

// KafkaSASL signs in to the brokers.
type KafkaSASL struct {
	Mechanism    string `koanf:"mechanism"` // PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; empty: nobody signs in
	User         string `koanf:"user"`
	Password     Secret `koanf:"password"`
	PasswordFile string `koanf:"password_file"` // or a file that holds it
}

// The transports.
const (
	Postgres = "postgres"
	OnKafka  = "kafka"
)

// kafka looks at what would else end as "EOF" in a client's log.
func (f *faults) kafka(c Config) {
	k := c.Kafka
	if c.Transport == OnKafka && len(k.Brokers) == 0 {
		f.add("kafka.brokers", "is empty: name the brokers, host:port, as MILLRACE_KAFKA_BROKERS=127.0.0.1:9092. "+
			"`docker compose --profile kafka up kafka` starts one for development, and `millrace demo --transport kafka` needs none")
	}
	for _, broker := range k.Brokers {
		host, port, err := net.SplitHostPort(broker)
		if err != nil || host == "" || !isPort(port, 1) {
			f.add("kafka.brokers", "%q is not host:port, as 127.0.0.1:9092", broker)
		}
	}
	if len(k.Prefix) > 100 || strings.ContainsFunc(k.Prefix, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
	}) {
		f.add("kafka.prefix", "%q is not at most 100 of a-z, A-Z, 0-9, '.', '_' and '-'", k.Prefix)
	}
	if k.Partitions < 1 || k.Partitions > 64 || bits.OnesCount(uint(k.Partitions)) != 1 {
		f.add("kafka.partitions", "%d is not 1, 2, 4, 8, 16, 32 or 64", k.Partitions)
	}
	if k.Replication < 1 || k.Replication > 100 {
		f.add("kafka.replication", "%d is not between 1 and 100", k.Replication)
	}
	if (k.TLS.CertificateFile == "") != (k.TLS.KeyFile == "") {
		f.add("kafka.tls.certificate_file", "certificate and key go together: set both or none")
	}
	if !k.TLS.Enabled && k.TLS.CAFile+k.TLS.CertificateFile != "" {
		f.add("kafka.tls.enabled", "is false, but files are named for it: set it to true")
	}
	for setting, path := range map[string]string{
		"kafka.tls.ca_file": k.TLS.CAFile, "kafka.tls.certificate_file": k.TLS.CertificateFile,
		"kafka.tls.key_file": k.TLS.KeyFile, "kafka.sasl.password_file": k.SASL.PasswordFile,
	} {
		if path == "" {
			continue
		}
		if _, err := os.ReadFile(path); err != nil {
			f.add(setting, "cannot be read: %s", err)
		}
	}
	f.oneOf("kafka.sasl.mechanism", k.SASL.Mechanism, "", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
	password := k.SASL.Password != "" || k.SASL.PasswordFile != ""
	if k.SASL.Password != "" && k.SASL.PasswordFile != "" {
		f.add("kafka.sasl.password", "is set, and so is kafka.sasl.password_file: set one of them")
	}
	if signs := k.SASL.Mechanism != ""; signs != (k.SASL.User != "") || signs != password {
		f.add("kafka.sasl.mechanism", "mechanism, user and password go together: set all or none")
	}
}

// kafkaInProduction refuses what others could read or change.
func (f *faults) kafkaInProduction(c Config) {
	if c.Transport != OnKafka {
		return
	}
	if !c.Kafka.TLS.Enabled {
		f.add("kafka.tls.enabled", "must be true in production: in plain text every message can be read and forged on its way")
	}
	if c.Kafka.Replication < 2 {
		f.add("kafka.replication", "%d loses messages with its one broker: use 3 in production", c.Kafka.Replication)
	}
}

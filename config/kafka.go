package config

import (
	"math/bits"
	"net"
	"os"
	"strings"

	"millrace/platform/loopback"
)

// Kafka is the cluster that transports messages, with transport: kafka.
type Kafka struct {
	Brokers     []string  `yaml:"brokers"`     // host:port, two or three to connect to first
	Prefix      string    `yaml:"prefix"`      // before every topic and group name; cannot be changed later
	Partitions  int       `yaml:"partitions"`  // of a topic that is created: a power of two, at most 64; cannot be changed later
	Replication int       `yaml:"replication"` // number of brokers that store each record
	TLS         KafkaTLS  `yaml:"tls"`
	SASL        KafkaSASL `yaml:"sasl"`
}

// KafkaTLS configures encryption of the connections to the brokers.
type KafkaTLS struct {
	Enabled         bool   `yaml:"enabled"`
	CAFile          string `yaml:"ca_file"`          // PEM: trusted certificate authorities; empty: the system's
	CertificateFile string `yaml:"certificate_file"` // PEM: our own; empty: none
	KeyFile         string `yaml:"key_file"`
}

// KafkaSASL configures authentication with the brokers.
type KafkaSASL struct {
	Mechanism    string `yaml:"mechanism"` // PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; empty: no authentication
	User         string `yaml:"user"`
	Password     Secret `yaml:"password"`
	PasswordFile string `yaml:"password_file"` // or a file that contains it
}

// The transports.
const (
	Postgres = "postgres"
	OnKafka  = "kafka"
)

// kafka reports faults that would otherwise appear only as "EOF" in a client's
// log.
func (f *faults) kafka(c Config) {
	k := c.Kafka
	if c.Transport == OnKafka && len(k.Brokers) == 0 {
		f.add("kafka.brokers", "is empty: name the brokers, host:port, as MILLRACE_KAFKA_BROKERS=127.0.0.1:9092. "+
			"`docker compose --profile kafka up kafka` starts one for development, and `millrace demo --transport kafka` needs none")
	}
	for i, broker := range k.Brokers {
		if strings.ContainsAny(broker, "@/") { // may also contain a password
			f.add("kafka.brokers", "item %d is not host:port alone, as 127.0.0.1:9092: user and password are kafka.sasl.user and kafka.sasl.password, TLS is kafka.tls.enabled", i+1)
			continue
		}
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
	f.plainPassword(k)
}

// plainPassword rejects SASL PLAIN without TLS, which would send the password
// unencrypted to brokers on other machines.
func (f *faults) plainPassword(k Kafka) {
	if k.TLS.Enabled || k.SASL.Mechanism != "PLAIN" {
		return
	}
	for i, broker := range k.Brokers {
		if host, _, err := net.SplitHostPort(broker); err != nil || !loopback.Host(host) {
			f.add("kafka.tls.enabled", "must be true: kafka.sasl.mechanism PLAIN sends the password as it is, and item %d of kafka.brokers is neither a loopback address nor localhost", i+1)
			return
		}
	}
}

// kafkaInProduction rejects settings that would let others read or change
// messages.
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

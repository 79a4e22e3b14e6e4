package kafkabridge

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/bits"
	"net"
	"regexp"
	"slices"
	"strconv"
	"time"

	"millrace/platform/bus/store"
	"millrace/platform/errs"
	"millrace/platform/loopback"
)

// Config configures the bridge. Brokers is needed; the rest has defaults.
type Config struct {
	// Brokers are the addresses of the first brokers, host:port. Two or three are
	// enough: they name the others.
	Brokers []string
	// Prefix begins the name of each topic and of each consumer group, so that several
	// installations can share a cluster. Default none.
	//
	// WARNING: it cannot be changed later: with another prefix all topics and groups are new.
	Prefix string
	// TLS encrypts connections; nil is plaintext, for loopback and tests.
	TLS *TLS
	// SASL authenticates; nil is anonymous. PLAIN without TLS is refused for every broker
	// that is not on loopback, also for those that the first brokers name. SCRAM without
	// TLS is logged as a warning.
	SASL *SASL
	// Partitions is how many partitions a new topic has: a power of two, at most 64.
	// Default 8. Existing topics keep theirs.
	Partitions int
	// Replication is how many brokers store each record of a new topic. Default 1, for
	// one broker; production has 3, of which 2 must have stored a record before it is
	// acknowledged.
	Replication int
	// SendTimeout is how long a batch may take until the relay gets an error. Default 30 s.
	SendTimeout time.Duration
	// Stall is how long a partition may have unread records without progress until its
	// consumer is restarted, and how long a fault lasts until Flowing reports it.
	// Default 30 s.
	Stall time.Duration
	// Session is the session timeout of consumer groups: how long the brokers keep a
	// member that sends no heartbeat. Default 6 s, the least that brokers allow unless
	// group.min.session.timeout.ms is lower. A failover does not wait for it.
	Session time.Duration
	// Sweep is how often topics and consumer groups are checked, and received commands are
	// deleted from their topics. Default 10 s.
	Sweep time.Duration
	// Logger gets what an operator should know. Default: slog.Default.
	Logger *slog.Logger
}

// TLS configures encryption. The zero TLS trusts the system's certificate authorities.
type TLS struct {
	// CA is the content of a PEM file with the certificate authorities to trust instead.
	CA []byte
	// Certificate and Key are the client's own, PEM: both or none.
	Certificate, Key []byte
}

// SASL is a user and its password.
type SASL struct {
	// Mechanism is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
	Mechanism string
	User      string
	Password  string
}

// The mechanisms of SASL.
const (
	Plain       = "PLAIN"
	ScramSHA256 = "SCRAM-SHA-256"
	ScramSHA512 = "SCRAM-SHA-512"
)

// A topic's name has at most 249 characters, and a module's name at most 30.
var validPrefix = regexp.MustCompile(`^[a-zA-Z0-9._-]{0,100}$`)

// withDefaults returns the config with defaults for what is zero.
func (c Config) withDefaults() Config {
	if c.Partitions == 0 {
		c.Partitions = 8
	}
	if c.Replication == 0 {
		c.Replication = 1
	}
	if c.SendTimeout == 0 {
		c.SendTimeout = 30 * time.Second
	}
	if c.Stall == 0 {
		c.Stall = 30 * time.Second
	}
	if c.Session == 0 {
		c.Session = 6 * time.Second
	}
	if c.Sweep == 0 {
		c.Sweep = 10 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Validate returns an error for every wrong field, with what to write instead. It connects to
// nothing: the brokers' own answers to a wrong setting are "EOF" and "unexpected EOF".
func (c Config) Validate() error {
	c = c.withDefaults()
	var faults []error
	fault := func(field, format string, args ...any) {
		faults = append(faults, errs.InvalidField(field, format, args...))
	}
	if len(c.Brokers) == 0 {
		fault("Brokers", "is empty: name one or more, host:port; a broker for development is `docker compose up kafka`")
	}
	for _, broker := range c.Brokers {
		host, port, err := net.SplitHostPort(broker)
		if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || host == "" || n == 0 {
			fault("Brokers", "%q is not host:port", broker)
		}
	}
	if !validPrefix.MatchString(c.Prefix) {
		fault("Prefix", "%q must be at most 100 of a–z, A–Z, 0–9, '.', '_' and '-'", c.Prefix)
	}
	if !powerOfTwo(c.Partitions) {
		fault("Partitions", "is %d: it must be 1, 2, 4, 8, 16, 32 or 64", c.Partitions)
	}
	if c.Replication < 1 || c.Replication > 1000 {
		fault("Replication", "is %d: it must be 1 for one broker, 3 in production", c.Replication)
	}
	for field, d := range map[string]time.Duration{"SendTimeout": c.SendTimeout, "Stall": c.Stall, "Session": c.Session, "Sweep": c.Sweep} {
		if d < 0 {
			fault(field, "is %s: it must be positive", d)
		}
	}
	if remote := c.remote(); c.TLS == nil && len(remote) > 0 && c.SASL != nil && c.SASL.Mechanism == Plain {
		fault("TLS", "is not set, and SASL %s sends the password as it is to %q, which are neither loopback addresses nor localhost: switch TLS on", Plain, remote)
	}
	if s := c.SASL; s != nil {
		switch s.Mechanism {
		case Plain, ScramSHA256, ScramSHA512:
		default:
			fault("SASL.Mechanism", "%q is not %s, %s or %s", s.Mechanism, Plain, ScramSHA256, ScramSHA512)
		}
		if s.User == "" {
			fault("SASL.User", "is empty: name the user, or leave SASL out")
		}
		if s.Password == "" {
			fault("SASL.Password", "is empty: give it in the environment or in a file")
		}
	}
	if c.TLS != nil {
		if _, err := c.TLS.config(); err != nil {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// remote lists the brokers that are not on this machine.
func (c Config) remote() []string {
	return slices.DeleteFunc(slices.Clone(c.Brokers), func(broker string) bool {
		host, _, err := net.SplitHostPort(broker)
		return err != nil || loopback.Host(host) // an invalid address is a fault of its own
	})
}

func (t *TLS) config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(t.CA) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(t.CA) {
			return nil, errs.InvalidField("TLS.CA", "holds no certificate in PEM")
		}
	}
	if len(t.Certificate) > 0 || len(t.Key) > 0 {
		own, err := tls.X509KeyPair(t.Certificate, t.Key)
		if err != nil {
			return nil, errs.InvalidField("TLS.Certificate", "and TLS.Key are no pair in PEM: %s", err)
		}
		config.Certificates = []tls.Certificate{own}
	}
	return config, nil
}

// unprefixed returns the name of one of our topics without the prefix.
func (c Config) unprefixed(topic string) string { return topic[len(c.Prefix):] }

func powerOfTwo(n int) bool {
	return n >= 1 && n <= store.Partitions && bits.OnesCount(uint(n)) == 1
}

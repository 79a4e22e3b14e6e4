package kafkatransport

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

// Config says where the brokers are and how to talk to them. Brokers is needed;
// the rest has defaults.
type Config struct {
	// Brokers are the addresses to begin with, host:port. Two or three are
	// enough: the rest is learned from them.
	Brokers []string
	// Prefix is put before the name of each topic and of each consumer group:
	// several installations may share a cluster. Default none. It is for ever:
	// under another one all topics and groups are new.
	Prefix string
	// TLS encrypts; nil is plaintext, for loopback and tests.
	TLS *TLS
	// SASL signs in; nil is anonymous. PLAIN without TLS is refused for every
	// broker that is not on loopback, those that the brokers name included. SCRAM
	// without TLS is warned about.
	SASL *SASL
	// Partitions is how many each topic is created with: a power of two, at most
	// 64, for ever. Default 8. An existing topic keeps what it has.
	Partitions int
	// Replication is how many brokers keep each record. Default 1, for one
	// broker; production has 3, of which 2 must have confirmed a record.
	Replication int
	// SendTimeout is how long a batch may take before its partition is called
	// blocked. Default 30 s.
	SendTimeout time.Duration
	// Stall is how long records may lie unread without progress before their
	// subscription is started anew, and a batch may lie unsent before Flowing
	// says so. Default 30 s.
	Stall time.Duration
	// Session is how long the brokers believe in a process that they do not hear
	// from. Default 6 s, the least that they allow unless
	// group.min.session.timeout.ms says otherwise. Other processes do not wait for
	// it, see takeOver.
	Session time.Duration
	// Sweep is how often commands that were received are deleted from their
	// topic, and topics are looked at. Default 10 s.
	Sweep time.Duration
	// Logger gets what an operator should know. Default: slog.Default.
	Logger *slog.Logger

	member string // what this process's members of groups call themselves
}

// TLS says whom to believe. The zero TLS believes the system's authorities.
type TLS struct {
	// CA is a PEM file's content with the authorities to believe instead.
	CA []byte
	// Certificate and Key are the client's own, PEM; both or none.
	Certificate, Key []byte
}

// SASL is a name and its password.
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

// withDefaults fills in what is zero.
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

// Validate names every field that is wrong, and what to write instead. The
// brokers' own answers to a wrong one are "EOF" and "unexpected EOF", so it is
// looked at before anybody is dialled.
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
		return err != nil || loopback.Host(host) // what is no address is a fault of its own
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

func powerOfTwo(n int) bool {
	return n >= 1 && n <= store.Partitions && bits.OnesCount(uint(n)) == 1
}

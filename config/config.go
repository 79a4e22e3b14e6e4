// Package config is the program's configuration: one struct, its defaults, and
// one place that says what is not acceptable.
//
// A setting has one name everywhere: "http.address" in messages, nested keys in
// the YAML file, MILLRACE_HTTP_ADDRESS in the environment (a list is separated
// by commas there). What comes later wins: defaults, file, environment, the
// program's flags. DATABASE_URL is another name for MILLRACE_DATABASE_URL.
//
// [Load] refuses what it does not know, in the file and among the MILLRACE_
// variables, so that a misspelt setting is not silently the default. [Load] and
// [Config.Validate] report every fault at once, each with the setting's name and what
// would be accepted; no message repeats a secret's value. [Config.Redacted] prints everything but secrets.
//
// Without any file or variable the program is complete: it is for development,
// on this machine only. With environment: production it refuses to start on
// anything that is for development.
package config

import (
	"encoding/base64"
	"time"
)

// Config is everything that can be set. Every field has a default; an empty
// value means what the comment says.
type Config struct {
	Environment string   `koanf:"environment"` // development or production
	DataDir     string   `koanf:"data_dir"`    // what the program keeps on disk: the embedded database and the data platform's files
	Modules     []string `koanf:"modules"`     // what this process hosts; empty: all
	Transport   string   `koanf:"transport"`   // how messages travel: postgres or kafka

	HTTP         HTTP         `koanf:"http"`
	Database     Database     `koanf:"database"`
	Bus          Bus          `koanf:"bus"`
	Kafka        Kafka        `koanf:"kafka"`
	Front        Front        `koanf:"front"`
	Payment      Payment      `koanf:"payment"`
	Delivery     Delivery     `koanf:"delivery"`
	Mail         Mail         `koanf:"mail"`
	DataPlatform DataPlatform `koanf:"dataplatform"`
	Log          Log          `koanf:"log"`
}

// HTTP is the server's own address.
type HTTP struct {
	Address string `koanf:"address"` // host:port; port 0: any free one
	// There is no sign-in yet: whoever reaches the address may do everything. So
	// an address that other machines reach, and a request that names another
	// host than this machine, are refused unless this is true.
	InsecureExposeWithoutLogin bool `koanf:"insecure_expose_without_login"`
}

// Database is the PostgreSQL server.
type Database struct {
	URL               Secret `koanf:"url"`                  // postgres://…; empty: an embedded server of this program's own
	MaxConnsPerModule int    `koanf:"max_conns_per_module"` // of each hosted module's pool
	// Each module works with the rights of the database role of this prefix and
	// its name, and `millrace migrate` creates these roles and gives them their
	// rights. Empty: with those of the URL's user.
	RolePrefix string `koanf:"role_prefix"`
	// Where every module's database is, if modules have one each: postgres://…,
	// or a file that holds such a URL. What looks at the whole product (trace,
	// deadletters) looks into these, and not at url.
	Parts []Secret `koanf:"parts"`
}

// Bus is how messages are handled.
type Bus struct {
	LeaseTTL  time.Duration   `koanf:"lease_ttl"` // how long a process that went silent keeps its work
	Executors int             `koanf:"executors"` // messages of one module handled at the same time
	Backoff   []time.Duration `koanf:"backoff"`   // before the second, third … attempt; then it is a dead letter
}

// Payment is the payment gateway.
type Payment struct {
	Gateway     Gateway       `koanf:"gateway"`
	ChaseAfter  time.Duration `koanf:"chase_after"`      // how long a result may be missing before it is asked for again
	CallbackURL string        `koanf:"callback_url"`     // where the gateway reaches POST /callbacks/gateway; empty: this server's own address
	Secrets     []Secret      `koanf:"callback_secrets"` // whsec_ and base64 of at least 24 bytes; two while they are rotated
}

// Gateway is the payment gateway's own side.
type Gateway struct {
	Name             string        `koanf:"name"`              // kept with every payment, and in its events
	URL              string        `koanf:"url"`               // empty: the simulator in this process, development only
	Timeout          time.Duration `koanf:"timeout"`           // of one request to it
	SimulatorAddress string        `koanf:"simulator_address"` // where the simulator listens; loopback
	SimulatorSeed    uint64        `koanf:"simulator_seed"`    // its answers depend on this, the order and the attempt only
}

// Delivery is the warehouse's and the carrier's side.
type Delivery struct {
	AutoProgress      bool          `koanf:"auto_progress"`       // ships and delivers by itself; development only
	AutoProgressAfter time.Duration `koanf:"auto_progress_after"` // how long a parcel then stays prepared, and shipped
}

// Mail is the way of outgoing mail.
type Mail struct {
	From string `koanf:"from"` // the sender's address
	SMTP SMTP   `koanf:"smtp"`
}

// SMTP is the mail server.
type SMTP struct {
	Host     string `koanf:"host"` // empty: the inbox in this process, development only
	Port     int    `koanf:"port"`
	User     string `koanf:"user"` // empty: no sign-in there
	Password Secret `koanf:"password"`
	TLS      string `koanf:"tls"` // auto (always, but to this machine), mandatory, plaintext (not in production)
}

// DataPlatform is the stand-in for the outside data platform.
type DataPlatform struct {
	Dir        string        `koanf:"dir"`         // where its Parquet files are written; empty: data_dir/dataplatform
	FlushRows  int           `koanf:"flush_rows"`  // a file has at most so many events
	FlushEvery time.Duration `koanf:"flush_every"` // and is written when the oldest has waited so long
}

// Log is what the program says about itself, on standard error.
type Log struct {
	Level  string `koanf:"level"`  // debug, info, warn, error
	Format string `koanf:"format"` // auto (text on a terminal, else json), text, json
}

// The environments.
const (
	Development = "development"
	Production  = "production"
)

// DevelopmentSecret signs the simulator's callbacks. It is public, so
// production refuses it.
var DevelopmentSecret = Secret("whsec_" + base64.StdEncoding.EncodeToString([]byte("millrace: development only, everybody knows this")))

// Default is the configuration without a file or a variable.
func Default() Config {
	return Config{
		Environment: Development,
		DataDir:     ".data",
		Transport:   Postgres,
		HTTP:        HTTP{Address: "127.0.0.1:8080"},
		Database:    Database{MaxConnsPerModule: 8},
		Bus: Bus{
			LeaseTTL: 2 * time.Second, Executors: 3,
			Backoff: []time.Duration{100 * time.Millisecond, time.Second, 5 * time.Second, 10 * time.Second},
		},
		Kafka: Kafka{Partitions: 8, Replication: 1},
		Payment: Payment{
			ChaseAfter: time.Minute,
			Gateway:    Gateway{Name: "simulator", Timeout: 5 * time.Second, SimulatorAddress: "127.0.0.1:0", SimulatorSeed: 1},
			Secrets:    []Secret{DevelopmentSecret},
		},
		Delivery:     Delivery{AutoProgress: true, AutoProgressAfter: time.Second},
		DataPlatform: DataPlatform{FlushRows: 10_000, FlushEvery: 5 * time.Second},
		Mail:         Mail{From: "Millrace <no-reply@millrace.example>", SMTP: SMTP{Port: 587, TLS: "auto"}},
		Log:          Log{Level: "info", Format: "auto"},
	}
}

// Embedded says whether the program brings its own database server.
func (c Config) Embedded() bool { return c.Database.URL == "" }

// Simulator says whether the payment gateway is the one in this process.
func (c Config) Simulator() bool { return c.Payment.Gateway.URL == "" }

// DevInbox says whether mail goes to the inbox in this process.
func (c Config) DevInbox() bool { return c.Mail.SMTP.Host == "" }

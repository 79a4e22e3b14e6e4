// Package config is the program's configuration: one struct, its defaults, and
// the rules for valid values.
//
// A setting has one name everywhere: "http.address" in messages, nested keys in
// the YAML file, MILLRACE_HTTP_ADDRESS in the environment, where a list is
// separated by commas. Later sources override earlier ones: defaults, file,
// environment, flags. DATABASE_URL is another name for MILLRACE_DATABASE_URL.
// Values in the file are read as written: 0123 stays 0123.
//
// [Load] rejects unknown settings in the file and unknown MILLRACE_ variables,
// so that a misspelt setting does not silently keep its default. It ignores
// variables that Kubernetes sets for services called millrace or millrace-….
// [Load] and [Config.Validate] report all faults together, each with the
// setting's name and what is accepted; no message quotes a secret.
// [Config.Redacted] returns everything but secrets.
//
// Without a file or variables the configuration is complete: for development,
// on this machine only. With environment: production the program does not start
// with settings that are for development.
package config

import (
	"encoding/base64"
	"net/url"
	"slices"
	"time"
)

// Config holds all settings. Every field has a default; comments give the
// meaning of an empty value.
type Config struct {
	Environment string   `yaml:"environment"` // development or production
	DataDir     string   `yaml:"data_dir"`    // for the embedded database and the data platform's files
	Modules     []string `yaml:"modules"`     // the modules that this process hosts; empty: all
	Transport   string   `yaml:"transport"`   // transport of messages: postgres or kafka

	HTTP         HTTP         `yaml:"http"`
	Database     Database     `yaml:"database"`
	Bus          Bus          `yaml:"bus"`
	Kafka        Kafka        `yaml:"kafka"`
	Proxy        Proxy        `yaml:"proxy"`
	Payment      Payment      `yaml:"payment"`
	Delivery     Delivery     `yaml:"delivery"`
	Mail         Mail         `yaml:"mail"`
	DataPlatform DataPlatform `yaml:"dataplatform"`
	Log          Log          `yaml:"log"`
}

// HTTP is the HTTP server.
type HTTP struct {
	Address string `yaml:"address"` // host:port; port 0: any free port
	// WARNING: there is no sign-in yet, so anybody who reaches the address may
	// do everything. An address that other machines can reach is rejected
	// unless this is true.
	InsecureExposeWithoutLogin bool `yaml:"insecure_expose_without_login"`
	// Hosts that requests may name (in Host and Origin), such as shop.example,
	// without scheme and port. Always allowed are localhost, the loopback
	// addresses, the address where the connection arrived, and the host of
	// payment.callback_url. Other hosts are refused, wherever the program
	// listens; otherwise a foreign page whose name resolves to it could use it
	// through a visitor's browser.
	PublicHosts []string `yaml:"public_hosts"`
	// Limits for clients, see package web.
	MaxRequests    int `yaml:"max_requests"`    // concurrent requests; further ones wait up to a second and are then refused
	MaxConnections int `yaml:"max_connections"` // open connections; beyond that, the one that has waited longest for its client is closed
}

// Database is the PostgreSQL server.
type Database struct {
	URL               Secret `yaml:"url"`                  // postgres://…; empty: an embedded server
	MaxConnsPerModule int    `yaml:"max_conns_per_module"` // size of each hosted module's pool
	// With a prefix, each module uses the database role named after the prefix
	// and the module; `millrace migrate` creates these roles and grants their
	// privileges. Empty: modules use the URL's user.
	RolePrefix string `yaml:"role_prefix"`
	// The databases of all modules, if each module has its own: postgres://…
	// URLs, or files that contain one. Commands that read from all modules
	// (trace, deadletters) use these instead of url.
	Parts []Secret `yaml:"parts"`
}

// Bus configures the handling of messages.
type Bus struct {
	LeaseTTL time.Duration   `yaml:"lease_ttl"` // how long an unresponsive node keeps its partitions
	Workers  int             `yaml:"workers"`   // messages of one module handled at the same time
	Backoff  []time.Duration `yaml:"backoff"`   // before attempt 2, 3, …; after the last one the message is a dead letter
}

// Payment configures payments.
type Payment struct {
	Gateway          Gateway       `yaml:"gateway"`
	StatusCheckAfter time.Duration `yaml:"status_check_after"` // how long a result may be missing before the first status check
	CallbackURL      string        `yaml:"callback_url"`       // URL where the gateway reaches POST /callbacks/gateway; empty: this server's own address
	Secrets          []Secret      `yaml:"callback_secrets"`   // whsec_ and base64 of at least 24 bytes, in production 32 random bytes; two during a rotation
}

// Gateway is the payment gateway.
type Gateway struct {
	Name             string        `yaml:"name"`              // stored with every payment, and in its events
	URL              string        `yaml:"url"`               // empty: the simulator in this process, development only
	Timeout          time.Duration `yaml:"timeout"`           // of one request
	SimulatorAddress string        `yaml:"simulator_address"` // where the simulator listens; loopback
	SimulatorSeed    uint64        `yaml:"simulator_seed"`    // its answers depend only on this, the order and the attempt
}

// Delivery stands in for the warehouse and the carrier.
type Delivery struct {
	AutoProgress      bool          `yaml:"auto_progress"`       // ships and delivers automatically; development only
	AutoProgressAfter time.Duration `yaml:"auto_progress_after"` // time in each of the states prepared and shipped
}

// Mail configures outgoing mail.
type Mail struct {
	From  string    `yaml:"from"` // the sender's address
	SMTP  SMTP      `yaml:"smtp"`
	Limit MailLimit `yaml:"limit"`
}

// MailLimit bounds the mails to one mailbox, because addresses are not
// verified. Further mails are sent as one digest at the end of the window.
type MailLimit struct {
	Window       time.Duration `yaml:"window"`       // starts with a mail
	Reservations int           `yaml:"reservations"` // mails about reservations in a window
	Orders       int           `yaml:"orders"`       // mails about payments and deliveries in a window
}

// SMTP is the mail server.
type SMTP struct {
	Host     string `yaml:"host"` // empty: the inbox in this process, development only
	Port     int    `yaml:"port"`
	User     string `yaml:"user"` // empty: no sign-in
	Password Secret `yaml:"password"`
	TLS      string `yaml:"tls"` // auto (mandatory, except on this machine), mandatory, plaintext (not in production)
}

// DataPlatform stands in for the external data platform.
type DataPlatform struct {
	Dir        string        `yaml:"dir"`         // folder for its Parquet files; empty: data_dir/dataplatform
	FlushRows  int           `yaml:"flush_rows"`  // maximum number of events in a file
	FlushEvery time.Duration `yaml:"flush_every"` // a file is written when its oldest event has waited this long
}

// Log is the program's log, on standard error.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn, error
	Format string `yaml:"format"` // auto (text on a terminal, else json), text, json
}

// The environments.
const (
	Development = "development"
	Production  = "production"
)

// DevelopmentSecret is the placeholder for a gateway's secret. It signs
// nothing, because the simulator has its own secret. WARNING: it is public, so
// it is rejected with a real gateway.
var DevelopmentSecret = Secret("whsec_" + base64.StdEncoding.EncodeToString([]byte("millrace: development only, everybody knows this")))

// Default returns the configuration without a file or variables.
func Default() Config {
	return Config{
		Environment: Development,
		DataDir:     ".data",
		Transport:   Postgres,
		HTTP:        HTTP{Address: "127.0.0.1:8080", MaxRequests: 128, MaxConnections: 512},
		Database:    Database{MaxConnsPerModule: 8},
		Bus: Bus{
			LeaseTTL: 2 * time.Second, Workers: 3,
			Backoff: []time.Duration{100 * time.Millisecond, time.Second, 5 * time.Second, 10 * time.Second},
		},
		Kafka: Kafka{Partitions: 8, Replication: 1},
		Payment: Payment{
			StatusCheckAfter: time.Minute,
			Gateway:          Gateway{Name: "simulator", Timeout: 5 * time.Second, SimulatorAddress: "127.0.0.1:0", SimulatorSeed: 1},
			Secrets:          []Secret{DevelopmentSecret},
		},
		Delivery:     Delivery{AutoProgress: true, AutoProgressAfter: time.Second},
		DataPlatform: DataPlatform{FlushRows: 10_000, FlushEvery: 5 * time.Second},
		Mail:         Mail{From: "Millrace <no-reply@millrace.example>", SMTP: SMTP{Port: 587, TLS: "auto"}, Limit: MailLimit{Window: 15 * time.Minute, Reservations: 10, Orders: 60}},
		Log:          Log{Level: "info", Format: "auto"},
	}
}

// Embedded reports whether the program starts its own database server.
func (c Config) Embedded() bool { return c.Database.URL == "" }

// AllowedHosts returns the hosts that requests may name: http.public_hosts, and
// the host of the gateway's callbacks.
func (c Config) AllowedHosts() []string {
	all := slices.Clone(c.HTTP.PublicHosts)
	if u, err := url.Parse(c.Payment.CallbackURL); err == nil && u.Hostname() != "" {
		all = append(all, u.Hostname())
	}
	return all
}

// hosts reports whether this process hosts the module.
func (c Config) hosts(module string) bool {
	return len(c.Modules) == 0 || slices.Contains(c.Modules, module)
}

// Simulator reports whether the payment gateway is the simulator in this
// process.
func (c Config) Simulator() bool { return c.Payment.Gateway.URL == "" }

// DevInbox reports whether mail is sent to the inbox in this process.
func (c Config) DevInbox() bool { return c.Mail.SMTP.Host == "" }

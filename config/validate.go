package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"millrace/platform/errs"
	"millrace/platform/loopback"
	"millrace/platform/web"
)

// Limits that Validate checks.
const (
	minSecretBytes = 24
	maxSecrets     = 2
	minRequests    = 8
	maxRequests    = 4096
	spareConns     = 64 // in addition to max_requests: for probes and slow clients
	maxConnections = 65536
	minWorkers     = 1
	maxWorkers     = 32
	maxPool        = 200
	minLease       = time.Second
	maxLease       = time.Minute
	maxCheckAfter  = 5 * time.Minute // the maximum delay of the first status check for a payment without a result
)

// faults collects all faults, so that they are reported together.
type faults []error

// add adds a fault of a setting. It masks the user and password of a URL in the
// message.
func (f *faults) add(setting, format string, args ...any) {
	*f = append(*f, errs.InvalidField(setting, "%s", userInformation.ReplaceAllString(fmt.Sprintf(format, args...), "//***@")))
}

var userInformation = regexp.MustCompile(`//[^/\s"]*@`)

func (f *faults) oneOf(setting, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		f.add(setting, "%q is none of %s", value, strings.Join(allowed, ", "))
	}
}

// Validate reports everything in c that is not acceptable. modules are the
// names of all existing modules.
func (c Config) Validate(modules []string) error {
	var f faults
	f.oneOf("environment", c.Environment, Development, Production)
	if c.DataDir == "" {
		f.add("data_dir", "name a folder, as .data")
	}
	f.modules(c.Modules, modules)
	f.oneOf("transport", c.Transport, Postgres, OnKafka)
	f.kafka(c)
	f.proxy(c.Proxy, modules)
	f.http(c.HTTP)
	f.database(c)
	f.bus(c.Bus)
	f.payment(c.Payment)
	f.callback(c)
	f.mail(c.Mail)
	if c.Delivery.AutoProgressAfter < 0 || c.Delivery.AutoProgressAfter > time.Hour {
		f.add("delivery.auto_progress_after", "%s is not between 0 and 1h", c.Delivery.AutoProgressAfter)
	}
	if c.DataPlatform.FlushRows < 1 || c.DataPlatform.FlushRows > 1_000_000 {
		f.add("dataplatform.flush_rows", "%d is not between 1 and 1000000", c.DataPlatform.FlushRows)
	}
	if c.DataPlatform.FlushEvery <= 0 || c.DataPlatform.FlushEvery > time.Hour {
		f.add("dataplatform.flush_every", "%s is not between 0 and 1h", c.DataPlatform.FlushEvery)
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Log.Level)); err != nil {
		f.add("log.level", "%q is none of debug, info, warn, error", c.Log.Level)
	}
	f.oneOf("log.format", c.Log.Format, "auto", "text", "json")
	if c.Environment == Production {
		f.production(c)
	} else if !c.Simulator() && c.hosts("payment") {
		f.publicSecrets(c.Payment.Secrets)
	}
	return errors.Join(f...)
}

func (f *faults) modules(chosen, all []string) {
	seen := map[string]bool{}
	for _, name := range chosen {
		if !slices.Contains(all, name) {
			f.add("modules", "there is no module %q; there are %s", name, strings.Join(all, ", "))
		}
		if seen[name] {
			f.add("modules", "%s is listed twice", name)
		}
		seen[name] = true
	}
}

func (f *faults) http(c HTTP) {
	for _, host := range c.PublicHosts {
		if err := web.CheckHost(host); err != nil {
			f.add("http.public_hosts", "%s", err)
		}
	}
	if c.MaxRequests < minRequests || c.MaxRequests > maxRequests {
		f.add("http.max_requests", "%d is not between %d and %d", c.MaxRequests, minRequests, maxRequests)
	}
	if least := c.MaxRequests + spareConns; c.MaxConnections < least || c.MaxConnections > maxConnections {
		f.add("http.max_connections", "%d is not between %d (http.max_requests and %d more) and %d", c.MaxConnections, least, spareConns, maxConnections)
	}
	shown := redactText("http.address", c.Address)
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil || !isPort(port, 0) {
		f.add("http.address", "%q is not host:port, as 127.0.0.1:8080", shown)
		return
	}
	if !loopback.Host(host) && !c.InsecureExposeWithoutLogin {
		f.add("http.address", "%q can be reached from other machines, and there is no sign-in yet: everybody who reaches it may do everything. "+
			"Use 127.0.0.1, or set http.insecure_expose_without_login to true if something in front of it lets only the right people through", shown)
	}
}

func (f *faults) database(c Config) {
	// One for each executor, one for a request, one for the module's own work.
	if least := c.Bus.Workers + 2; c.Database.MaxConnsPerModule < least || c.Database.MaxConnsPerModule > maxPool {
		f.add("database.max_conns_per_module", "%d is not between %d (bus.workers and 2 more) and %d", c.Database.MaxConnsPerModule, least, maxPool)
	}
	if !isRolePrefix(c.Database.RolePrefix) {
		f.add("database.role_prefix", "%q is not at most 30 of a-z, 0-9 and _, a letter first, as millrace_", c.Database.RolePrefix)
	}
	f.databases(c)
}

func (f *faults) bus(c Bus) {
	if c.LeaseTTL < minLease || c.LeaseTTL > maxLease {
		f.add("bus.lease_ttl", "%s is not between %s and %s", c.LeaseTTL, minLease, maxLease)
	}
	if c.Workers < minWorkers || c.Workers > maxWorkers {
		f.add("bus.workers", "%d is not between %d and %d", c.Workers, minWorkers, maxWorkers)
	}
	if len(c.Backoff) == 0 {
		f.add("bus.backoff", "name at least one wait before a second attempt, as 1s")
	}
	for _, wait := range c.Backoff {
		if wait <= 0 || wait > time.Hour {
			f.add("bus.backoff", "%s is not between 0 and 1h", wait)
		}
	}
}

func (f *faults) payment(c Payment) {
	if !isName(c.Gateway.Name) {
		f.add("payment.gateway.name", "%q is not 1 to 40 of a-z, 0-9 and -", c.Gateway.Name)
	}
	if c.StatusCheckAfter < time.Second || c.StatusCheckAfter > maxCheckAfter {
		f.add("payment.status_check_after", "%s is not between 1s and %s", c.StatusCheckAfter, maxCheckAfter)
	}
	if c.Gateway.URL != "" {
		f.web("payment.gateway.url", c.Gateway.URL)
	}
	if c.Gateway.Timeout <= 0 || c.Gateway.Timeout > time.Minute {
		f.add("payment.gateway.timeout", "%s is not between 0 and 1m", c.Gateway.Timeout)
	}
	if host, port, err := net.SplitHostPort(c.Gateway.SimulatorAddress); err != nil || !isPort(port, 0) || !loopback.Host(host) {
		f.add("payment.gateway.simulator_address", "%q is not host:port on this machine, as 127.0.0.1:8081", c.Gateway.SimulatorAddress)
	}
	if len(c.Secrets) == 0 || len(c.Secrets) > maxSecrets {
		f.add("payment.callback_secrets", "there are %d: name one, or %d while it is being replaced", len(c.Secrets), maxSecrets)
	}
	for i, secret := range c.Secrets {
		if key, ok := callbackKey(secret); !ok || len(key) < minSecretBytes {
			f.add("payment.callback_secrets", "item %d is not whsec_ and the base64 of at least %d bytes: %s", i+1, minSecretBytes, makeSecret)
		}
	}
}

func (f *faults) mail(c Mail) {
	if _, err := mail.ParseAddress(c.From); err != nil {
		f.add("mail.from", "%q is not a mail address, as Shop <shop@example.com>", c.From)
	}
	if host := c.SMTP.Host; net.ParseIP(host) == nil && strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r > 127 || strings.ContainsRune(":/@?#[]", r) }) {
		f.add("mail.smtp.host", "is not the name or the IP address of a mail server alone, as mail.example: port, user and password are settings of their own; other than ASCII letters are written in their xn-- form")
	}
	if !isPort(strconv.Itoa(c.SMTP.Port), 1) {
		f.add("mail.smtp.port", "%d is not between 1 and 65535", c.SMTP.Port)
	}
	if (c.SMTP.User == "") != (c.SMTP.Password == "") {
		f.add("mail.smtp.user", "user and password go together: set both or none")
	}
	f.oneOf("mail.smtp.tls", c.SMTP.TLS, "auto", "mandatory", "plaintext")
	if c.Limit.Window < time.Second || c.Limit.Window > 24*time.Hour {
		f.add("mail.limit.window", "%s is not between 1s and 24h", c.Limit.Window)
	}
	const most = 1_000_000
	if c.Limit.Reservations < 1 || c.Limit.Reservations > most {
		f.add("mail.limit.reservations", "%d is not between 1 and %d mails to one address", c.Limit.Reservations, most)
	}
	if c.Limit.Orders < 1 || c.Limit.Orders > most {
		f.add("mail.limit.orders", "%d is not between 1 and %d mails to one address", c.Limit.Orders, most)
	}
}

// production rejects settings that are for development only.
func (f *faults) production(c Config) {
	if c.Embedded() {
		f.add("database.url", "is empty: production needs a PostgreSQL server of its own, not the embedded one")
	}
	if c.Simulator() {
		f.add("payment.gateway.url", "is empty: production needs a payment gateway, not the simulator")
	} else if !strings.HasPrefix(c.Payment.Gateway.URL, "https://") {
		f.add("payment.gateway.url", "must be https in production")
	}
	if !strings.HasPrefix(c.Payment.CallbackURL, "https://") {
		f.add("payment.callback_url", "must be the https address at which the gateway reaches this server")
	}
	f.strongSecrets(c.Payment.Secrets)
	f.knownPasswords(c)
	if c.Delivery.AutoProgress {
		f.add("delivery.auto_progress", "must be false: in production the warehouse and the carrier report what they did")
	}
	if c.DevInbox() {
		f.add("mail.smtp.host", "is empty: production needs a mail server, not the development inbox")
	}
	if c.Mail.SMTP.TLS == "plaintext" {
		f.add("mail.smtp.tls", "plaintext lets every mail be read on its way: use auto or mandatory")
	}
	f.kafkaInProduction(c)
	f.plainHTTP(c.Proxy)
}

// isRolePrefix accepts a prefix that leaves room for a module's name in
// PostgreSQL's 63 bytes and is not one of PostgreSQL's own roles.
func isRolePrefix(text string) bool {
	return text == "" || len(text) <= 30 && text[0] >= 'a' && text[0] <= 'z' && !strings.HasPrefix(text, "pg_") &&
		!strings.ContainsFunc(text, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' })
}

func isName(text string) bool {
	return text != "" && len(text) <= 40 && !strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
	})
}

func isPort(text string, least int) bool {
	port, err := strconv.Atoi(text)
	return err == nil && port >= least && port <= 65535
}

func isHTTP(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

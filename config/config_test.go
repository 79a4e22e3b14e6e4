package config_test

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"millrace/config"
)

var modules = []string{"payment", "delivery"}

func write(t *testing.T, yaml string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "millrace.yaml")
	require.NoError(t, os.WriteFile(path, []byte(yaml), 0o600))
	return path
}

func TestDefault_IsCompleteAndListensOnLoopback(t *testing.T) {
	t.Parallel()
	c, err := config.Load("", nil)
	require.NoError(t, err)
	require.NoError(t, c.Validate(modules))
	require.Empty(t, cmp.Diff(config.Default(), c))
	require.True(t, c.Embedded() && c.Simulator() && c.DevInbox())
}

func TestDevPreset_ListsEverySettingWithItsDefault(t *testing.T) {
	t.Parallel()
	c, err := config.Load("dev.yaml", nil)
	require.NoError(t, err)
	c.Modules, c.HTTP.PublicHosts, c.Kafka.Brokers, c.Proxy.Modules, c.Database.Parts = nil, nil, nil, nil, nil // [] in the file
	require.Empty(t, cmp.Diff(config.Default(), c))

	preset, err := os.ReadFile("dev.yaml")
	require.NoError(t, err)
	for line := range strings.Lines(config.Default().Redacted()) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), ":")
		require.Contains(t, string(preset), name+":")
	}
}

func TestLoad_EnvironmentOverridesFile(t *testing.T) {
	t.Parallel()
	path := write(t, "http:\n  address: 127.0.0.1:1\nbus:\n  lease_ttl: 3s\nmodules: [payment]\n")
	c, err := config.Load(path, []string{
		"MILLRACE_HTTP_ADDRESS=127.0.0.1:2", "MILLRACE_BUS_BACKOFF=1s, 2s", "MILLRACE_HTTP_INSECURE_EXPOSE_WITHOUT_LOGIN=true", "PATH=/bin",
	})
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:2", c.HTTP.Address)
	require.True(t, c.HTTP.InsecureExposeWithoutLogin)
	require.Equal(t, 3*time.Second, c.Bus.LeaseTTL)
	require.Equal(t, []time.Duration{time.Second, 2 * time.Second}, c.Bus.Backoff)
	require.Equal(t, []string{"payment"}, c.Modules)
}

func TestLoad_AcceptsDATABASE_URL(t *testing.T) {
	t.Parallel()
	c, err := config.Load("", []string{"DATABASE_URL=postgres://a@h/one"})
	require.NoError(t, err)
	require.Equal(t, "postgres://a@h/one", c.Database.URL.Reveal())
	for range 20 { // map order must not matter
		c, err = config.Load("", []string{"MILLRACE_DATABASE_URL=postgres://a@h/two", "DATABASE_URL=postgres://a@h/one"})
		require.NoError(t, err)
		require.Equal(t, "postgres://a@h/two", c.Database.URL.Reveal())
	}
}

func TestLoad_ReportsAllUnknownSettings(t *testing.T) {
	t.Parallel()
	path := write(t, "htpp:\n  address: x\nbus:\n  lease_ttl: soon\n  workers: [1]\nmail:\n")
	_, err := config.Load(path, []string{"MILLRACE_HTTP_HOST=x", "MILLRACE_DATABASE_MAX_CONNS_PER_MODULE=many"})
	for _, name := range []string{"htpp.address: ", "bus.lease_ttl: must be a duration", "bus.workers: must be one value", "MILLRACE_HTTP_HOST: no setting", "database.max_conns_per_module: must be a whole number"} {
		require.ErrorContains(t, err, name)
	}
	require.NotContains(t, err.Error(), "mail", "a section without content is fine")

	_, err = config.Load("nowhere.yaml", nil)
	require.ErrorContains(t, err, "there is no configuration file nowhere.yaml")
	_, err = config.Load(write(t, "a: [\n"), nil)
	require.ErrorContains(t, err, "configuration file")
}

// It breaks one setting at a time, and then all at once.
func TestValidate_ChecksEverySetting(t *testing.T) {
	t.Parallel()
	bad := map[string]func(*config.Config){
		"environment":                       func(c *config.Config) { c.Environment = "staging" },
		"data_dir":                          func(c *config.Config) { c.DataDir = "" },
		"modules":                           func(c *config.Config) { c.Modules = []string{"billing"} },
		"transport":                         func(c *config.Config) { c.Transport = "pigeon" },
		"kafka.brokers":                     func(c *config.Config) { c.Kafka.Brokers = []string{"9092"} },
		"kafka.prefix":                      func(c *config.Config) { c.Kafka.Prefix = "a b" },
		"kafka.partitions":                  func(c *config.Config) { c.Kafka.Partitions = 12 },
		"kafka.replication":                 func(c *config.Config) { c.Kafka.Replication = 0 },
		"kafka.tls.ca_file":                 func(c *config.Config) { c.Kafka.TLS.CAFile = "nowhere.pem" },
		"kafka.tls.certificate_file":        func(c *config.Config) { c.Kafka.TLS.CertificateFile = "nowhere.pem" },
		"kafka.sasl.mechanism":              func(c *config.Config) { c.Kafka.SASL.Mechanism = "SCRAM" },
		"kafka.sasl.password_file":          func(c *config.Config) { c.Kafka.SASL.PasswordFile = "nowhere" },
		"proxy.modules":                     func(c *config.Config) { c.Proxy.Modules = []string{"payment=ftp://canary"} },
		"http.address":                      func(c *config.Config) { c.HTTP.Address = "8080" },
		"http.public_hosts":                 func(c *config.Config) { c.HTTP.PublicHosts = []string{"https://shop.example"} },
		"http.max_requests":                 func(c *config.Config) { c.HTTP.MaxRequests = 7 },
		"http.max_connections":              func(c *config.Config) { c.HTTP.MaxConnections = 70 },
		"database.url":                      func(c *config.Config) { c.Database.URL = "mysql://root:canary@h/d" },
		"database.max_conns_per_module":     func(c *config.Config) { c.Database.MaxConnsPerModule = 4 },
		"database.role_prefix":              func(c *config.Config) { c.Database.RolePrefix = "pg_millrace" },
		"bus.lease_ttl":                     func(c *config.Config) { c.Bus.LeaseTTL = time.Millisecond },
		"bus.workers":                       func(c *config.Config) { c.Bus.Workers = 0 },
		"bus.backoff":                       func(c *config.Config) { c.Bus.Backoff = nil },
		"payment.gateway.name":              func(c *config.Config) { c.Payment.Gateway.Name = "A gateway" },
		"payment.status_check_after":        func(c *config.Config) { c.Payment.StatusCheckAfter = time.Hour },
		"payment.gateway.url":               func(c *config.Config) { c.Payment.Gateway.URL = "ftp://canary" },
		"payment.gateway.timeout":           func(c *config.Config) { c.Payment.Gateway.Timeout = 0 },
		"payment.gateway.simulator_address": func(c *config.Config) { c.Payment.Gateway.SimulatorAddress = "0.0.0.0:1" },
		"payment.callback_url":              func(c *config.Config) { c.Payment.CallbackURL = "canary" },
		"payment.callback_secrets":          func(c *config.Config) { c.Payment.Secrets = []config.Secret{"canary"} },
		"delivery.auto_progress_after":      func(c *config.Config) { c.Delivery.AutoProgressAfter = -1 },
		"dataplatform.flush_rows":           func(c *config.Config) { c.DataPlatform.FlushRows = 0 },
		"dataplatform.flush_every":          func(c *config.Config) { c.DataPlatform.FlushEvery = 0 },
		"mail.from":                         func(c *config.Config) { c.Mail.From = "nobody" },
		"mail.smtp.port":                    func(c *config.Config) { c.Mail.SMTP.Port = 0 },
		"mail.smtp.user":                    func(c *config.Config) { c.Mail.SMTP.Password = "canary" },
		"mail.smtp.tls":                     func(c *config.Config) { c.Mail.SMTP.TLS = "ssl" },
		"mail.limit.window":                 func(c *config.Config) { c.Mail.Limit.Window = 0 },
		"mail.limit.reservations":           func(c *config.Config) { c.Mail.Limit.Reservations = 0 },
		"mail.limit.orders":                 func(c *config.Config) { c.Mail.Limit.Orders = -1 },
		"log.level":                         func(c *config.Config) { c.Log.Level = "loud" },
		"log.format":                        func(c *config.Config) { c.Log.Format = "xml" },
	}
	all := config.Default()
	for name, spoil := range bad {
		one := config.Default()
		spoil(&one)
		require.ErrorContains(t, one.Validate(modules), name+": ", name)
		require.NotContains(t, one.Validate(modules).Error(), "canary", "no message contains a secret")
		spoil(&all)
	}
	err := all.Validate(modules).Error()
	for name := range bad {
		if name != "database.max_conns_per_module" { // valid with 0 workers
			require.Contains(t, err, name+": ")
		}
	}
}

func TestValidate_PublicAddressNeedsInsecureSetting(t *testing.T) {
	t.Parallel()
	for address, refused := range map[string]bool{
		"127.0.0.1:1": false, "[::1]:1": false, "localhost:1": false, "127.9.9.9:0": false,
		":8080": true, "0.0.0.0:8080": true, "[::]:1": true, "192.0.2.1:1": true, "example.com:1": true,
	} {
		c := config.Default()
		c.HTTP.Address = address
		if !refused {
			require.NoError(t, c.Validate(modules), address)
			continue
		}
		require.ErrorContains(t, c.Validate(modules), "http.insecure_expose_without_login", address)
		c.HTTP.InsecureExposeWithoutLogin = true
		require.NoError(t, c.Validate(modules), address)
	}
}

// randomSecret returns a callback secret of n random bytes.
func randomSecret(n int) config.Secret {
	key := make([]byte, n)
	_, _ = rand.Read(key) // never fails
	return secretOf(key)
}

func secretOf(key []byte) config.Secret {
	return config.Secret("whsec_" + base64.StdEncoding.EncodeToString(key))
}

func TestValidate_ChecksEachPublicHost(t *testing.T) {
	t.Parallel()
	c, err := config.Load("", []string{"MILLRACE_HTTP_PUBLIC_HOSTS=shop.example, 192.0.2.1"})
	require.NoError(t, err)
	require.Equal(t, []string{"shop.example", "192.0.2.1"}, c.HTTP.PublicHosts)
	require.NoError(t, c.Validate(modules))
	c.Payment.CallbackURL = "https://pay.example:8443/callbacks/gateway"
	require.Equal(t, []string{"shop.example", "192.0.2.1", "pay.example"}, c.AllowedHosts())
	c.HTTP.Address, c.HTTP.PublicHosts = "x", []string{"https://shop.example", "*.example", "", "shop.example"}
	err = c.Validate(modules)
	require.ErrorContains(t, err, `http.public_hosts: "https://shop.example" has a scheme: write the host alone, as shop.example`)
	require.ErrorContains(t, err, `http.public_hosts: "*.example" has a wildcard: list each host by its whole name`)
	require.ErrorContains(t, err, `http.public_hosts: "" is empty`)
	require.ErrorContains(t, err, "http.address")
}

func production() config.Config {
	c := config.Default()
	c.Environment = config.Production
	c.Database.URL = "postgres://u:p@db/millrace?sslmode=verify-full"
	c.Payment.Gateway.URL = "https://pg.example"
	c.Payment.CallbackURL = "https://shop.example/callbacks/gateway"
	c.Payment.Secrets = []config.Secret{randomSecret(32)}
	c.Delivery.AutoProgress = false
	c.Mail.SMTP.Host = "mail.example"
	return c
}

func TestProduction_RejectsDevelopmentSettings(t *testing.T) {
	t.Parallel()
	require.NoError(t, production().Validate(modules))
	for name, spoil := range map[string]func(*config.Config){
		"database.url: is empty":                                 func(c *config.Config) { c.Database.URL = "" },
		"database.url: sslmode=disable":                          func(c *config.Config) { c.Database.URL = "postgres://u:p@db/m?sslmode=disable" },
		"payment.gateway.url: is empty":                          func(c *config.Config) { c.Payment.Gateway.URL = "" },
		"payment.gateway.url: must be https":                     func(c *config.Config) { c.Payment.Gateway.URL = "http://pg.example" },
		"payment.callback_url: ":                                 func(c *config.Config) { c.Payment.CallbackURL = "" },
		"payment.callback_secrets: item 1 has the word millrace": func(c *config.Config) { c.Payment.Secrets = config.Default().Payment.Secrets },
		"payment.callback_secrets: item 1":                       func(c *config.Config) { c.Payment.Secrets = []config.Secret{""} },
		"proxy.modules: payment is reached by http":              func(c *config.Config) { c.Proxy.Modules = []string{"payment=http://payment:8080"} },
		"delivery.auto_progress: ":                               func(c *config.Config) { c.Delivery.AutoProgress = true },
		"mail.smtp.host: ":                                       func(c *config.Config) { c.Mail.SMTP.Host = "" },
		"mail.smtp.tls: ":                                        func(c *config.Config) { c.Mail.SMTP.TLS = "plaintext" },
	} {
		c := production()
		spoil(&c)
		require.ErrorContains(t, c.Validate(modules), name)
	}
	for name, spoil := range map[string]func(*config.Config){
		"kafka.brokers: is empty": func(c *config.Config) { c.Kafka.Brokers = nil },
		"kafka.tls.enabled: ":     func(c *config.Config) { c.Kafka.TLS.Enabled = false },
		"kafka.replication: ":     func(c *config.Config) { c.Kafka.Replication = 1 },
	} {
		c := production()
		c.Transport, c.Kafka.Brokers, c.Kafka.Replication, c.Kafka.TLS.Enabled = config.OnKafka, []string{"kafka:9093"}, 3, true
		require.NoError(t, c.Validate(modules))
		spoil(&c)
		require.ErrorContains(t, c.Validate(modules), name)
	}
	c := config.Default()
	c.Environment = config.Production
	require.Equal(t, 6, strings.Count(c.Validate(modules).Error(), "\n")+1, "all at once: %s", c.Validate(modules))
}

// It applies in every environment.
func TestValidate_RejectsPlainPasswordsWithoutTLS(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		brokers []string
		item    int // number of the rejected item; 0: none
	}{
		{[]string{"127.0.0.1:9092", "127.1.2.3:9092", "[::1]:9092", "localhost:9092"}, 0},
		{[]string{"kafka:9092"}, 1},
		{[]string{"localhost:9092", "127.0.0.1:9092", "10.0.0.3:9092"}, 3},
		{[]string{"[::1]:9092", "[2001:db8::1]:9092"}, 2},
		{[]string{"localhost:9092", "127.0.0.1.example:9092"}, 2},
		{[]string{"0.0.0.0:9092"}, 1},
	} {
		for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
			dev := config.Default()
			dev.Kafka.Brokers = c.brokers
			dev.Kafka.SASL = config.KafkaSASL{Mechanism: mechanism, User: "millrace", Password: "canary"}
			if err := dev.Validate(modules); c.item == 0 || mechanism != "PLAIN" {
				require.NoError(t, err, c.brokers)
			} else {
				require.ErrorContains(t, err, "kafka.tls.enabled: must be true", c.brokers)
				require.ErrorContains(t, err, fmt.Sprintf("item %d of kafka.brokers", c.item))
				require.NotContains(t, err.Error(), "canary")
			}
			dev.Kafka.TLS.Enabled = true
			require.NoError(t, dev.Validate(modules), c.brokers)
		}
	}
}

func TestSecret_IsHiddenByEveryPrinter(t *testing.T) {
	t.Parallel()
	c := production()
	c.Database.URL = "postgres://millrace:canary@db:5432/millrace?sslpassword=canary&sslmode=require"
	c.Payment.Gateway.URL = "https://user:canary@pg.example/?key=canary"
	c.Payment.Secrets = []config.Secret{"canary", "canary"}
	c.Mail.SMTP.Password = "canary"
	c.Kafka.SASL.Password = "canary"
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("config", "secret", c.Mail.SMTP.Password, "all", c)
	for _, printed := range []string{c.Redacted(), fmt.Sprintf("%v %+v %#v %s", c.Database, c.Mail, c.Payment.Secrets, c.Mail.SMTP.Password)} {
		require.NotContains(t, printed, "canary")
	}
	require.NotContains(t, log.String(), "canary")
	require.Contains(t, c.Redacted(), `url: "postgres://xxxxx@db:5432/millrace?sslmode=require`)
	require.Contains(t, c.Redacted(), `password: "[redacted]"`)
}

// The user information is in every text setting.
func TestRedacted_HidesUserInformationInURLs(t *testing.T) {
	t.Parallel()
	for _, user := range []string{"canary", "canary:", "canary:canary", ":canary", "user:canary", "ca%40nary:canary", "canary:ca/nary", "canary:ca#nary", "canary:ca?nary", "canary:ca@nary"} {
		address := "https://" + user + "@pg.example:8443/v1?key=canary"
		c := config.Default()
		c.Payment.Gateway.URL, c.Payment.CallbackURL = address, address
		c.Proxy.Modules = []string{"payment=" + address, address}
		c.Kafka.Brokers = []string{user + "@broker:9092", "SASL_SSL://" + user + "@broker:9092"}
		c.Mail.SMTP.Host, c.HTTP.Address, c.DataDir = user+"@mail", user+"@host:80", address
		printed := c.Redacted() + fmt.Sprint(c.Validate([]string{"payment"}))
		for _, part := range []string{"canary", "ca%40nary", "nary:"} {
			require.NotContains(t, printed, part, user)
		}
	}
}

func TestRedacted_IsAFileThatLoadsTheSameConfiguration(t *testing.T) {
	t.Parallel()
	c := config.Default()
	c.Payment.Secrets = nil
	c.Modules = []string{"payment", "delivery"}
	again, err := config.Load(write(t, c.Redacted()), nil)
	require.NoError(t, err)
	again.Payment.Secrets, again.HTTP.PublicHosts, again.Kafka.Brokers, again.Proxy.Modules, again.Database.Parts = nil, nil, nil, nil, nil // [] in the file
	require.Empty(t, cmp.Diff(c, again))
}

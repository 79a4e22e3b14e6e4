package config_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/config"
)

func TestProduction_RejectsGuessableCallbackSecrets(t *testing.T) {
	t.Parallel()
	counter := make([]byte, 48)
	down := make([]byte, 48)
	for i := range counter {
		counter[i], down[i] = byte(i), byte(250-3*i)
	}
	random, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(randomSecret(24).Reveal(), "whsec_"))
	require.NoError(t, err)
	for name, key := range map[string][]byte{
		"zeros":              make([]byte, 32),
		"many zeros":         make([]byte, 4096),
		"one letter":         bytes.Repeat([]byte{'a'}, 32),
		"two letters":        bytes.Repeat([]byte("ab"), 32),
		"digits":             []byte("0123456789012345678901234567890123456789"),
		"letters in order":   []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"),
		"a counter":          counter,
		"a falling counter":  down,
		"repeated hex":       []byte(strings.Repeat("0123456789abcdef", 4)),
		"repeated random":    bytes.Repeat(random, 2),
		"cut repetition":     bytes.Repeat(random, 3)[:60],
		"random then zeros":  append(bytes.Clone(random[:16]), make([]byte, 32)...),
		"development's":      []byte("millrace: development only, everybody knows this"),
		"its own variation":  []byte("MILLRACE: development only, nobody knows this one!"),
		"a word":             []byte("my very Secret key for the shop, 2026-11-29"),
		"short, but random":  random,
		"the tests' of ours": []byte("millrace-e2e-test-secret-0001"),
	} {
		c := production()
		c.Payment.Secrets = []config.Secret{randomSecret(32), secretOf(key)}
		err := c.Validate(modules)
		require.ErrorContains(t, err, "payment.callback_secrets: item 2", name)
		require.ErrorContains(t, err, "openssl rand -base64 32", name)
		require.NotContains(t, err.Error(), base64.StdEncoding.EncodeToString(key), name)
		require.Equal(t, 1, strings.Count(err.Error(), "\n")+1, "%s: %s", name, err)

		c = config.Default()
		c.Payment.Secrets = []config.Secret{secretOf(key)}
		require.NoError(t, c.Validate(modules), "%s: accepted in development", name)
	}
}

// It is rejected in every environment and in every notation.
func TestValidate_RejectsPublicSecretForRealGateway(t *testing.T) {
	t.Parallel()
	public := config.DevelopmentSecret
	for _, secrets := range [][]config.Secret{{public}, {public, randomSecret(32)}, {randomSecret(32), public}, {config.Secret(public.Reveal()[:10] + "\n" + public.Reveal()[10:])}} {
		for _, url := range []string{"https://pg.example", "http://127.0.0.1:1"} {
			c := config.Default()
			c.Payment.Secrets = secrets
			require.NoError(t, c.Validate(modules), "the simulator has its own")
			c.Payment.Gateway.URL = url
			err := c.Validate(modules)
			require.ErrorContains(t, err, "payment.callback_secrets: item ")
			require.ErrorContains(t, err, "openssl rand -base64 32")
			require.ErrorContains(t, err, "payment.gateway.url")
			require.NotContains(t, err.Error(), public.Reveal())
			require.Equal(t, 1, strings.Count(err.Error(), "\n")+1, "%s", err)
		}
	}
	c := config.Default()
	c.Payment.Gateway.URL, c.Modules = "https://pg.example", modules[1:2]
	require.NotContains(t, c.Modules, "payment")
	require.NoError(t, c.Validate(modules), "a process that takes no callbacks needs no secret")
	c.Modules, c.Payment.Secrets = nil, []config.Secret{randomSecret(24)}
	require.NoError(t, c.Validate(modules))
}

func TestProduction_RejectsCallbackSecretsBelow32Bytes(t *testing.T) {
	t.Parallel()
	c := production()
	c.Payment.Secrets = []config.Secret{randomSecret(31)}
	require.ErrorContains(t, c.Validate(modules), "is too short for production, which needs the base64 of at least 32 bytes")
}

func TestProduction_AcceptsRandomCallbackSecrets(t *testing.T) {
	t.Parallel()
	for range 300 {
		c := production()
		c.Payment.Secrets = []config.Secret{randomSecret(32), randomSecret(64)}
		require.NoError(t, c.Validate(modules))
	}
	for range 300 { // the output of `openssl rand -hex 32`, encoded in base64
		key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(randomSecret(32).Reveal(), "whsec_"))
		c := production()
		c.Payment.Secrets = []config.Secret{secretOf([]byte(hex.EncodeToString(key)))}
		require.NoError(t, c.Validate(modules))
	}
}

func TestProduction_RejectsDefaultPasswords(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte("changeme\n"), 0o600))
	for setting, spoil := range map[string]func(*config.Config){
		"database.url": func(c *config.Config) {
			c.Database.URL = "postgres://millrace:millrace@db/millrace?sslmode=verify-full"
		},
		"database.parts": func(c *config.Config) {
			c.Database.Parts = []config.Secret{"postgres://millrace:Postgres@db/millrace?sslmode=verify-full"}
		},
		"mail.smtp.password": func(c *config.Config) { c.Mail.SMTP.User, c.Mail.SMTP.Password = "shop", "password" },
		"kafka.sasl.password": func(c *config.Config) {
			c.Kafka.SASL = config.KafkaSASL{Mechanism: "SCRAM-SHA-256", User: "shop", Password: "millrace"}
		},
		"kafka.sasl.password: ": func(c *config.Config) {
			c.Kafka.SASL = config.KafkaSASL{Mechanism: "SCRAM-SHA-256", User: "shop", PasswordFile: file}
		},
	} {
		c := production()
		spoil(&c)
		require.ErrorContains(t, c.Validate(modules), setting)
		require.ErrorContains(t, c.Validate(modules), "everybody tries first")
		c.Environment = config.Development
		require.NoError(t, c.Validate(modules), setting)
	}
	require.ErrorContains(t, production().CheckDatabase("database.parts", "postgres://u:millrace@db/m?sslmode=verify-full"), "everybody tries first")
}

package config

import (
	"bytes"
	"encoding/base64"
	"math"
	"os"
	"slices"
	"strings"
)

// Requirements on a decoded callback secret in production.
const (
	strongSecretBytes = 32
	strongSecretBits  = 112 // estimated; 32 random bytes have more than 130
)

const makeSecret = "make one with `echo whsec_$(openssl rand -base64 32)`"

// callbackKey decodes a callback secret.
func callbackKey(secret Secret) (key []byte, ok bool) {
	encoded, ok := strings.CutPrefix(secret.Reveal(), "whsec_")
	key, err := base64.StdEncoding.DecodeString(encoded)
	return key, ok && err == nil
}

// strongSecrets rejects callback secrets that can be guessed. Secrets that
// cannot be decoded or are shorter than minSecretBytes are reported elsewhere.
func (f *faults) strongSecrets(secrets []Secret) {
	for i, secret := range secrets {
		key, ok := callbackKey(secret)
		if !ok || len(key) < minSecretBytes {
			continue
		}
		if weakness := weaknessOf(key); weakness != "" {
			f.add("payment.callback_secrets", "item %d %s: %s", i+1, weakness, makeSecret)
		}
	}
}

// publicSecrets rejects the published secret: with it, anybody who reaches this
// server could sign a gateway's results.
func (f *faults) publicSecrets(secrets []Secret) {
	public, _ := callbackKey(DevelopmentSecret) // it is well-formed
	for i, secret := range secrets {
		if key, ok := callbackKey(secret); ok && bytes.Equal(key, public) {
			f.add("payment.callback_secrets", "item %d is the development secret, which everybody knows, and payment.gateway.url names a gateway: %s", i+1, makeSecret)
		}
	}
}

// weaknessOf returns why a key is easy to guess, or "" if it looks random. It
// finds keys that were not generated randomly: constants, counters,
// repetitions, known words. It cannot prove that a key is random.
func weaknessOf(key []byte) string {
	switch word := knownWord(key); {
	case word != "":
		return "has the word " + word + " in it, as secrets of examples have"
	case len(key) < strongSecretBytes:
		return "is too short for production, which needs the base64 of at least 32 bytes"
	case repeats(key):
		return "repeats itself"
	case min(entropy(key), entropy(differences(key))) < strongSecretBits:
		return "is not random enough"
	}
	return ""
}

// exampleWords occur in the development secret, and in secrets that people make
// up.
var exampleWords = []string{"millrace", "secret", "password", "changeme", "change-me", "development", "example", "callback", "webhook"}

func knownWord(key []byte) string {
	lower := bytes.ToLower(key)
	for _, word := range exampleWords {
		if bytes.Contains(lower, []byte(word)) {
			return word
		}
	}
	return ""
}

// repeats reports whether key repeats a shorter key.
func repeats(key []byte) bool {
	for period := 1; period <= len(key)/2; period++ {
		if bytes.Equal(key[period:], key[:len(key)-period]) {
			return true
		}
	}
	return false
}

// entropy estimates the bits in key from the frequency of each byte.
func entropy(key []byte) (bits float64) {
	var counts [256]float64
	for _, b := range key {
		counts[b]++
	}
	for _, n := range counts {
		if n > 0 {
			bits -= n * math.Log2(n/float64(len(key)))
		}
	}
	return bits
}

// differences returns the differences between neighbouring bytes. For a counter
// all are equal.
func differences(key []byte) []byte {
	all := make([]byte, 0, len(key))
	for i := 1; i < len(key); i++ {
		all = append(all, key[i]-key[i-1])
	}
	return all
}

// defaultPasswords are the password of the compose file and default passwords
// of servers.
var defaultPasswords = []string{"millrace", "postgres", "kafka", "admin", "password", "secret", "changeme"}

// knownPasswords rejects passwords that attackers try first. Database passwords
// are checked with their URLs.
func (f *faults) knownPasswords(c Config) {
	kafka := c.Kafka.SASL.Password.Reveal()
	if path := c.Kafka.SASL.PasswordFile; path != "" && kafka == "" {
		content, _ := os.ReadFile(path) // an unreadable file is reported elsewhere
		kafka = strings.TrimRight(string(content), "\r\n")
	}
	for setting, password := range map[string]string{"kafka.sasl.password": kafka, "mail.smtp.password": c.Mail.SMTP.Password.Reveal()} {
		if isDefaultPassword(password) {
			f.add(setting, "%s", knownPassword)
		}
	}
}

const knownPassword = "has a password that everybody tries first: give the user another one at the server (`openssl rand -base64 32` makes one), and set it here"

func isDefaultPassword(password string) bool {
	return slices.Contains(defaultPasswords, strings.ToLower(password))
}

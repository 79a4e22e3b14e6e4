package kafkabridge

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/platform/errs"
)

func TestConfig_NamesEachWrongFieldAndItsRemedy(t *testing.T) {
	t.Parallel()
	err := Config{
		Prefix: "a b", Partitions: 12, Replication: -1, Stall: -time.Second,
		SASL: &SASL{Mechanism: "GSSAPI"}, TLS: &TLS{CA: []byte("x")},
	}.Validate()
	require.Equal(t, errs.Invalid, errs.KindOf(err))
	for _, part := range []string{
		"Brokers: is empty: name one or more, host:port", `Prefix: "a b"`, "Partitions: is 12: it must be 1, 2, 4", "Replication: is -1", "Stall: is -1s",
		"SASL.Mechanism: \"GSSAPI\" is not PLAIN", "SASL.User: is empty", "SASL.Password: is empty", "TLS.CA: holds no certificate",
	} {
		require.ErrorContains(t, err, part)
	}
	for _, broker := range []string{"kafka", "kafka:", ":9092", "kafka:0", "kafka:99999", "kafka:nine"} {
		require.ErrorContains(t, Config{Brokers: []string{broker}}.Validate(), `Brokers: "`+broker+`" is not host:port`)
	}
	require.NoError(t, Config{Brokers: []string{"kafka-1:9092", "[::1]:9092"}, SASL: &SASL{ScramSHA512, "u", "p"}, TLS: &TLS{}}.Validate())
	require.ErrorContains(t, Config{Brokers: []string{"k:1"}, TLS: &TLS{Certificate: []byte("x")}}.Validate(), "TLS.Certificate")
}

// The connections use TLS, too.
func TestClient_AuthenticatesWithEveryMechanism(t *testing.T) {
	t.Parallel()
	ca, server := certificate(t)
	for _, mechanism := range []string{Plain, ScramSHA256, ScramSHA512} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			b := fake(t, kfake.EnableSASL(), kfake.Superuser(mechanism, "millrace", "secret"), kfake.TLS(&tls.Config{Certificates: []tls.Certificate{server}}))
			cfg := configFor(b)
			cfg.TLS, cfg.SASL = &TLS{CA: ca}, &SASL{mechanism, "millrace", "secret"}
			f := newTestSender(t, cfg, "shop.events")
			confirmed, err := f.Forward(t.Context(), rowsOf("k", 1, 3))
			require.NoError(t, err)
			require.Equal(t, 3, confirmed)

			cfg.SASL = &SASL{mechanism, "millrace", "wrong"}
			_, err = newTopicAdmin(cfg)
			require.Equal(t, errs.Resource, errs.KindOf(err))
			require.ErrorContains(t, err, "do not answer with TLS")
			require.NotContains(t, err.Error(), "wrong")
			cfg.TLS = nil
			_, err = newTopicAdmin(cfg)
			require.ErrorContains(t, err, "do not answer in plaintext")
		})
	}
}

func certificate(t *testing.T) (ca []byte, pair tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

package broker

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// User and Password are accepted by the SASL listeners of a secure cluster, with PLAIN,
// SCRAM-SHA-256 and SCRAM-SHA-512.
const (
	User     = "millrace"
	Password = "a-secret-for-tests"
)

const (
	serverFile = "server.pem"
	caFile     = "ca.pem"
)

// securityOf returns the settings of the secure listeners in server.properties.
func securityOf(dir string) map[string]string {
	p := map[string]string{
		"ssl.keystore.type":     "PEM",
		"ssl.keystore.location": filepath.ToSlash(filepath.Join(dir, serverFile)),
	}
	for _, listener := range []string{"sasltls", "saslplain"} {
		p["listener.name."+listener+".sasl.enabled.mechanisms"] = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"
		p["listener.name."+listener+".plain.sasl.jaas.config"] = fmt.Sprintf(
			"org.apache.kafka.common.security.plain.PlainLoginModule required user_%s=%q;", User, Password)
		for _, scram := range []string{"scram-sha-256", "scram-sha-512"} {
			p["listener.name."+listener+"."+scram+".sasl.jaas.config"] = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
		}
	}
	return p
}

// writeCertificates creates a certificate authority and a certificate for 127.0.0.1 and
// localhost, both valid for a day. The authority's private key is not stored.
func writeCertificates(dir string) error {
	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "millrace tests"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caKey, caPEM, err := certify(ca, ca, nil)
	if err != nil {
		return err
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "127.0.0.1"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	serverKey, serverPEM, err := certify(server, ca, caKey)
	if err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(serverKey)
	if err != nil {
		return err
	}
	store := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	store = append(append(store, serverPEM...), caPEM...)
	if err := os.WriteFile(filepath.Join(dir, serverFile), store, 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, caFile), caPEM, 0o600)
}

// certify creates a key and its certificate, signed with the parent's key or, if signer
// is nil, with itself.
func certify(of, parent *x509.Certificate, signer crypto.Signer) (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, of, parent, key.Public(), signer)
	if err != nil {
		return nil, nil, err
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

//go:build kafka

package broker

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"testing"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"
	"github.com/xdg-go/scram"
)

// exchange implements sarama.SCRAMClient.
type exchange struct {
	hash scram.HashGeneratorFcn
	*scram.ClientConversation
}

func (e *exchange) Begin(user, password, authz string) error {
	client, err := e.hash.NewClient(user, password, authz)
	if err != nil {
		return err
	}
	e.ClientConversation = client.NewConversation()
	return nil
}

func withTLS(t *testing.T, c *Cluster) *sarama.Config {
	t.Helper()
	ca, err := os.ReadFile(c.CA())
	require.NoError(t, err)
	trusted := x509.NewCertPool()
	require.True(t, trusted.AppendCertsFromPEM(ca))
	config := Config()
	config.Net.TLS.Enable, config.Net.TLS.Config = true, &tls.Config{RootCAs: trusted}
	return config
}

func withPassword(config *sarama.Config, mechanism sarama.SASLMechanism, password string) *sarama.Config {
	config.Net.SASL.Enable, config.Net.SASL.Mechanism = true, mechanism
	config.Net.SASL.User, config.Net.SASL.Password = User, password
	config.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient {
		if mechanism == sarama.SASLTypeSCRAMSHA256 {
			return &exchange{hash: scram.SHA256}
		}
		return &exchange{hash: scram.SHA512}
	}
	return config
}

func TestSecureCluster_RequiresAuthorityAndPassword(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Secure: true, Authorize: true})
	topic(t, c, "things")
	send(t, c.Brokers(), "things", 0, 3)

	mechanisms := []sarama.SASLMechanism{sarama.SASLTypePlaintext, sarama.SASLTypeSCRAMSHA256, sarama.SASLTypeSCRAMSHA512}
	refused := func(at []string, config *sarama.Config, why string) {
		t.Helper()
		_, err := sarama.NewClient(at, config)
		require.ErrorContains(t, err, why)
	}
	requireRecords(t, c.TLS(), withTLS(t, c), "things", 3)
	refused(c.TLS(), Config(), "EOF")
	refused(c.Brokers(), withTLS(t, c), "EOF")
	refused(c.SASLTLS(), withTLS(t, c), "EOF")
	strangers := Config()
	strangers.Net.TLS.Enable, strangers.Net.TLS.Config = true, &tls.Config{RootCAs: x509.NewCertPool()}
	refused(c.TLS(), strangers, "x509: certificate signed by unknown authority")
	elsewhere := withTLS(t, c)
	elsewhere.Net.TLS.Config.ServerName = "elsewhere.example"
	refused(c.TLS(), elsewhere, "x509: certificate is valid for localhost, not elsewhere.example")
	for _, mechanism := range mechanisms {
		refused(c.SASLTLS(), withPassword(withTLS(t, c), mechanism, "wrong"), "SASL Authentication failed")
	}

	// The user is authenticated, but has no rights until ACLs grant them.
	asUser := withPassword(Config(), sarama.SASLTypePlaintext, Password)
	client, err := sarama.NewClient(c.SASL(), asUser)
	require.NoError(t, err)
	defer client.Close()
	require.ErrorIs(t, client.RefreshMetadata("things"), sarama.ErrTopicAuthorizationFailed)
	admin, err := sarama.NewClusterAdmin(c.Brokers(), Config())
	require.NoError(t, err)
	defer admin.Close()
	require.NoError(t, admin.CreateACLs([]*sarama.ResourceAcls{{
		Resource: sarama.Resource{ResourceType: sarama.AclResourceTopic, ResourceName: "things", ResourcePatternType: sarama.AclPatternLiteral},
		Acls:     []*sarama.Acl{{Principal: "User:" + User, Host: "*", Operation: sarama.AclOperationAll, PermissionType: sarama.AclPermissionAllow}},
	}}))
	for _, mechanism := range mechanisms {
		requireRecords(t, c.SASLTLS(), withPassword(withTLS(t, c), mechanism, Password), "things", 3)
		requireRecords(t, c.SASL(), withPassword(Config(), mechanism, Password), "things", 3)
	}
}

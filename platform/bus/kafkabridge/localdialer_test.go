package kafkabridge

import (
	"bytes"
	"log/slog"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/platform/bus"
	"millrace/platform/bus/sqltransport"
	"millrace/platform/errs"
)

func TestConfig_RefusesPlainPasswordsWithoutTLSForRemoteBrokers(t *testing.T) {
	t.Parallel()
	plain := &SASL{Plain, "millrace", "secret"}
	for _, brokers := range [][]string{
		{"kafka-1:9092"}, {"192.0.2.1:9092"}, {"[2001:db8::1]:9092"}, {"[::ffff:192.0.2.1]:9092"}, {"0.0.0.0:9092"}, {"localhost.example:9092"},
		{"127.0.0.1:9092", "localhost:9092", "kafka-3:9092"}, // each is checked
	} {
		err := Config{Brokers: brokers, SASL: plain}.Validate()
		require.Equal(t, errs.Invalid, errs.KindOf(err), brokers)
		require.ErrorContains(t, err, "TLS: is not set")
		require.ErrorContains(t, err, "switch TLS on")
		require.NotContains(t, err.Error(), "secret")
		require.NoError(t, Config{Brokers: brokers, SASL: plain, TLS: &TLS{}}.Validate())
		require.NoError(t, Config{Brokers: brokers, SASL: &SASL{ScramSHA256, "millrace", "secret"}}.Validate())
		require.NoError(t, Config{Brokers: brokers}.Validate())
	}
	require.NoError(t, Config{Brokers: []string{"127.0.0.1:9092", "127.8.8.8:9092", "[::1]:9092", "localhost:9092"}, SASL: plain}.Validate())
}

// The first broker is on loopback, and names others.
func TestConfig_KeepsPlainPasswordsFromBrokersThatBrokersName(t *testing.T) {
	t.Parallel()
	b := fake(t, kfake.EnableSASL(), kfake.Superuser(Plain, "millrace", "secret"))
	cfg := configFor(b)
	cfg.SASL = &SASL{Plain, "millrace", "secret"}
	require.NoError(t, cfg.Validate())
	newTestSender(t, cfg, "shop.events").close(0)

	b.ControlKey(int16(kmsg.Metadata), func(request kmsg.Request) (kmsg.Response, error, bool) {
		b.KeepControl()
		response, ok := request.ResponseKind().(*kmsg.MetadataResponse)
		require.True(t, ok)
		elsewhere := kmsg.NewMetadataResponseBroker()
		elsewhere.NodeID, elsewhere.Host, elsewhere.Port = 7, "192.0.2.1", 9092
		response.Brokers, response.ControllerID = append(response.Brokers, elsewhere), 7
		return response, nil, true
	})
	a, err := newTopicAdmin(cfg)
	if err == nil {
		defer a.close()
		_, err = a.create(t.Context(), []string{"shop.more"})
	}
	require.ErrorContains(t, err, "the broker 192.0.2.1:9092 is not on this machine")
	require.NotContains(t, err.Error(), "secret")
}

func TestLocalDialer_ConnectsToLoopbackOnly(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	conn, err := localDialer{}.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	for _, address := range []string{"192.0.2.1:9092", "kafka-1:9092", "0.0.0.0:9092", "[::]:9092", "nowhere"} {
		_, err := localDialer{}.Dial("tcp", address)
		require.ErrorContains(t, err, "is not on this machine", address)
	}
}

func TestOpen_WarnsOfScramWithoutTLS(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	_, err := Open(t.Context(), Config{
		Brokers: []string{"kafka.invalid:9092"}, SASL: &SASL{ScramSHA512, "millrace", "secret"}, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}, sqltransport.Config{}, &bus.Topology{}, nil)
	require.Error(t, err)
	require.Contains(t, log.String(), "SASL without TLS")
	require.NotContains(t, log.String(), "secret")
}

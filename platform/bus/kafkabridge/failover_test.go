//go:build slow

package kafkabridge

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus/admin"
	"millrace/platform/postgres/pgtest"
)

// dying is the network of a process that is killed.
type dying struct {
	mu   sync.Mutex
	dead bool
	open []net.Conn
}

func (d *dying) Dial(network, address string) (net.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return nil, errors.New("killed")
	}
	conn, err := net.Dial(network, address)
	if err == nil {
		d.open = append(d.open, conn)
	}
	return conn, err
}

func (d *dying) kill() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = true
	for _, conn := range d.open {
		_ = conn.Close() // the broker may have closed it before
	}
}

// member is a group member that reads nothing.
type member struct{ joined chan struct{} }

func (m *member) Setup(sarama.ConsumerGroupSession) error { close(m.joined); return nil }

func (*member) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (*member) ConsumeClaim(s sarama.ConsumerGroupSession, _ sarama.ConsumerGroupClaim) error {
	<-s.Context().Done()
	return nil
}

// The brokers keep a killed member for minutes here, but its lease has expired.
func TestFailover_ReassignsPartitionsBeforeSessionEnds(t *testing.T) {
	t.Parallel()
	cfg := configFor(fake(t))
	cfg.Session, cfg.Stall = 5*time.Minute, 10*time.Minute
	newTestSender(t, cfg, "shop.events", "store.commands")
	killed, network := uuid.Must(uuid.NewV7()), &dying{}
	settings, err := cfg.consumer()
	require.NoError(t, err)
	settings.ClientID = clientIDOf(killed)
	settings.Consumer.Return.Errors = false
	settings.Net.Proxy.Enable, settings.Net.Proxy.Dialer = true, network
	settings.Metadata.Retry.Max = 0
	group, err := sarama.NewConsumerGroup(cfg.Brokers, "store", settings)
	require.NoError(t, err)
	m := &member{make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = group.Consume(ctx, []string{"shop.events", "store.commands"}, m) // it is killed
	}()
	t.Cleanup(func() { cancel(); <-ended; _ = group.Close() })
	<-m.joined
	network.kill()

	url := pgtest.URL(t)
	require.NoError(t, admin.Migrate(t.Context(), url, topology(t)))
	_, err = connect(t, url).ExecContext(t.Context(), `INSERT INTO bus.nodes (id, modules, subscriptions, expires_at) VALUES ($1, '{}', '{}', clock_timestamp())`, killed)
	require.NoError(t, err)
	o := openIn(t, cfg, url)
	o.publish(0, 20)
	o.effects(20)
}

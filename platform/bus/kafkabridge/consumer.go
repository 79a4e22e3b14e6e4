package kafkabridge

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/google/uuid"

	"millrace/platform/bus"
	"millrace/platform/errs"
)

// rejoinPause is the wait after an error of the group.
const rejoinPause = time.Second

// consumer is this process's member of a module's consumer group, which has the module's
// name. No handler runs in it, so none delays a rebalance.
type consumer struct {
	cfg      Config
	clientID string // of its connections: see failover
	module   string
	topics   []string // without the prefix
	admin    *topicAdmin
	inbound  inbound
	log      *slog.Logger
	counters *counters

	writer   *writer
	health   health
	stored   offsets
	arrived  chan arrival
	stopping *stopping
	running  sync.WaitGroup

	mu    sync.Mutex
	leave context.CancelFunc // ends the present membership; another one follows
}

// newConsumer returns a module's consumer that receives nothing before start.
func newConsumer(admin *topicAdmin, node uuid.UUID, module string, topics []string, topo *bus.Topology, in inbound, total *counters) *consumer {
	c := &consumer{
		cfg: admin.cfg, clientID: clientIDOf(node), module: module, topics: topics, admin: admin, inbound: in, counters: total,
		arrived: make(chan arrival, maxRows), stopping: newStopping(), leave: func() {},
	}
	c.log = admin.cfg.Logger.With("module", module, "group", c.group())
	c.writer = &writer{
		module: module, topo: topo, inbound: in, log: c.log, counters: total,
		health: &c.health, stored: &c.stored, arrived: c.arrived, stopping: c.stopping, restart: c.restart,
	}
	return c
}

// clientIDOf is what the members of a node are called at the brokers.
func clientIDOf(node uuid.UUID) string { return "millrace-" + node.String() }

func (c *consumer) group() string { return c.cfg.Prefix + c.module }

// start begins to receive.
func (c *consumer) start() {
	c.running.Go(c.run)
	c.running.Go(c.writer.run)
}

// stop takes nothing more and leaves the group, but does not wait longer than ctx for
// brokers that do not answer.
func (c *consumer) stop(ctx context.Context) error {
	c.stopping.stop()
	return within(ctx, "module "+c.module+" could not leave its consumer group in time: the brokers remove it when its session ends", c.running.Wait)
}

// restart leaves the group and joins it again. The new session begins at the checkpoints.
func (c *consumer) restart() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leave()
}

// run joins the group, again after each restart and each error, until stop.
func (c *consumer) run() {
	for !c.stopping.isRequested() {
		if err := c.join(); err != nil && !c.stopping.isRequested() {
			c.health.fail(errs.As(errs.Resource, err))
			c.log.Warn("consumer group left after an error", "retry_in", rejoinPause.String(), "error", err.Error())
			c.stopping.sleep(rejoinPause)
		}
	}
}

// join is one membership, until restart, stop or an error.
func (c *consumer) join() error {
	ctx, cancel := context.WithCancel(context.Background())
	c.mu.Lock()
	c.leave = cancel
	c.mu.Unlock()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-c.stopping.requested:
			cancel()
		case <-ctx.Done():
		}
	}()
	defer func() {
		cancel()
		<-watched
	}()
	return c.consume(ctx)
}

// consume takes part in the group until ctx ends.
func (c *consumer) consume(ctx context.Context) (err error) {
	settings, err := c.cfg.consumer()
	if err != nil {
		return err
	}
	settings.ClientID = c.clientID
	group, err := sarama.NewConsumerGroup(c.cfg.Brokers, c.group(), settings)
	if err != nil {
		return c.cfg.unreachable(err)
	}
	logged := make(chan struct{})
	go func() {
		defer close(logged)
		for err := range group.Errors() {
			c.log.Warn("consumer group error", "error", err.Error())
		}
	}()
	defer func() {
		if closing := group.Close(); closing != nil && err == nil {
			err = closing
		}
		<-logged
	}()
	names := make([]string, len(c.topics))
	for i, topic := range c.topics {
		names[i] = c.cfg.Prefix + topic
	}
	for ctx.Err() == nil { // Consume returns at each rebalance
		if err := group.Consume(ctx, names, newConsumerSession(c)); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

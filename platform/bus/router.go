package bus

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"millrace/platform/bus/internal/delivery"
)

// HandlerTimeout is how long a handler may take. It is shorter than the
// connections' idle_in_transaction_session_timeout (3 s), so that a slow
// handler's context ends before its connection is closed.
const HandlerTimeout = 2 * time.Second

// NewRouter makes the router of the hosted modules: one consumer handler for
// each subscription, named "<module>/<type>", fed by the module's subscriber.
// Run it; close the subscribers' transport first.
func NewRouter(topo *Topology, hosted []string, subscriber func(module string) message.Subscriber, log *slog.Logger, watermillLog watermill.LoggerAdapter) (*message.Router, error) {
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: 20 * time.Second}, routerLog{watermillLog})
	if err != nil {
		return nil, fmt.Errorf("new router: %w", err)
	}
	router.AddMiddleware(chain(log, HandlerTimeout)...)
	for _, module := range hosted {
		from := subscriber(module)
		if from == nil {
			return nil, fmt.Errorf("new router: module %s: the transport has no subscriber for it; it was opened without the module", module)
		}
		for _, s := range topo.SubscriptionsOf(module) {
			h := router.AddConsumerHandler(HandlerName(module, s.Type), s.Type, from, topo.receive(module, s))
			h.AddMiddleware(s.middleware...)
		}
	}
	return router, nil
}

// HandlerName is how the router calls the handler of a type in a module.
func HandlerName(module, messageType string) string { return module + "/" + messageType }

// receive opens the envelope, and gives the handler the transaction that the
// transport's worker began.
func (t *Topology) receive(module string, s Subscription) message.NoPublishHandlerFunc {
	return func(msg *message.Message) error {
		received, err := ReceivedFrom(msg)
		if err != nil {
			return err
		}
		d := delivery.From(msg.Context())
		tx := &Tx{ctx: msg.Context(), sql: d.Tx, out: d.Out, owner: module, topo: t, cause: received}
		return tx.end(s.handle(msg.Context(), tx, received))
	}
}

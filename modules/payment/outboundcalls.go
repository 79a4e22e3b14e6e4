package payment

import (
	"context"
	"log/slog"
	"time"

	"millrace/modules/payment/gateway"
	"millrace/platform/bus"
	"millrace/platform/errs"
	"millrace/platform/outbound"
)

// outboundCalls holds the queues of the calls to the gateway. Use cases
// record calls in their transaction; the queues make them after the commit.
type outboundCalls struct {
	charges         *outbound.Queue[chargeCall, chargeAnswer]
	refunds         *outbound.Queue[refundCall, refundAnswer]
	firstCheckAfter time.Duration
}

// maxAttempts is how often a call is attempted before status checks take over.
const maxAttempts = 8

// newOutboundCalls connects the outbound calls to the gateway and to the methods
// that record their outcome.
func newOutboundCalls(s *service, g gateway.Gateway, cfg Config) *outboundCalls {
	// A worker waits for the gateway until the time-out but holds no database
	// connection meanwhile, so many workers are cheap.
	const chargeWorkers, refundWorkers = 32, 16
	caller := gatewayCaller{db: s.db, gateway: g, callbackURL: cfg.CallbackURL}
	return &outboundCalls{
		firstCheckAfter: cfg.ChaseAfter,
		charges: outbound.New(s.db, outbound.Config[chargeCall, chargeAnswer]{
			Name: "charge", Timeout: cfg.GatewayTimeout, Workers: chargeWorkers, MaxAttempts: maxAttempts,
			Do: caller.charge, OnComplete: s.onChargeComplete,
		}),
		refunds: outbound.New(s.db, outbound.Config[refundCall, refundAnswer]{
			Name: "refund", Timeout: cfg.GatewayTimeout, Workers: refundWorkers, MaxAttempts: maxAttempts,
			Do: caller.refund, OnComplete: s.onRefundComplete,
		}),
	}
}

// gatewayCaller makes the outbound calls. An attempt can succeed at the gateway
// while its response is lost. Therefore each attempt is recorded before it is
// made, and every later attempt starts with a lookup.
type gatewayCaller struct {
	db          *bus.DB
	gateway     gateway.Gateway
	callbackURL string // of this process
}

// isLastAttempt reports whether a call without a result ends with this attempt, so
// that status checks take over. A status check itself has one attempt.
func isLastAttempt(attempt int, isCheck bool) bool { return isCheck || attempt >= maxAttempts }

// asRetriable makes sure that the queue retries an error. Only the provider's
// own answer is final for money; any other error, even a permanent fault of ours,
// is not.
func asRetriable(err error) error {
	if errs.KindOf(err).Reaction() == errs.Dead {
		return errs.As(errs.Unknown, err)
	}
	return err
}

func logNoResult(ctx context.Context, what, orderKey string, failure error) {
	slog.WarnContext(ctx, "the gateway gave no result", "what", what, "order_key", orderKey, "error", failure)
}

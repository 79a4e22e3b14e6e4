package payment

import (
	"context"
	"errors"
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
	caller := gatewayCaller{db: s.db, gateway: g, callbackURL: cfg.CallbackURL, timeout: cfg.GatewayTimeout}
	return &outboundCalls{
		firstCheckAfter: cfg.StatusCheckAfter,
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
	callbackURL string        // of this process
	timeout     time.Duration // of an attempt
}

// begin runs beginCharge or beginRefund. It has half of the attempt's time, so
// that a slow database leaves the gateway the other half. A failure of the
// database uses up no attempt, because the gateway was not called.
func (a gatewayCaller) begin(ctx context.Context, f func(context.Context, *bus.DB, string) (over, before bool, err error), id string) (over, before bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout/2)
	defer cancel()
	over, before, err = f(ctx, a.db, id)
	return over, before, outbound.NotMade(err)
}

// isNotMade reports whether the gateway was not called because of our database.
func isNotMade(err error) bool {
	var delay *outbound.Delay
	return errors.As(err, &delay)
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

package simulator

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"millrace/modules/payment/gateway"
)

// The names of the misbehaviours. The book counts each one when it has happened,
// not when it is planned.
const (
	Declined            = "declined"              // the issuer refuses the charge
	ServerErrorOnce     = "server_error_once"     // the first request gets 503 and charges nothing
	TimeoutHidesSuccess = "timeout_hides_success" // the first request charges and gets no response
	CallbackFirst       = "callback_first"        // the callback arrives before the response to the request
	Late                = "late"                  // the callback is sent after Config.Late
	Twice               = "twice"                 // two copies of the callback are sent at the same time
	OutOfOrder          = "out_of_order"          // a PENDING callback is sent after the final result
	Forged              = "forged"                // a callback with the opposite result, signed with another secret; then the right one
	WrongAmount         = "wrong_amount"          // a validly signed callback with another amount; then the right one
	RefundErrorOnce     = "refund_error_once"     // the first refund request gets 503
	RefundHidden        = "refund_hidden"         // the first refund request refunds and gets no response
)

// The names of misbehaviours that happen only on request: by a Config.Plan, or at
// the dashboard. PlanFor never returns them.
const (
	ProxyAfterTimeout    = "proxy_after_timeout"    // like timeout_hides_success; then two lookups are answered by a proxy with 400 text/html
	DeclinedThenApproved = "declined_then_approved" // a callback reports DECLINED; after Config.Late a second one reports APPROVED, which is true
	CanceledAtDashboard  = "canceled_at_dashboard"  // captured money is returned without a refund request; see Cancel
)

// proxiedLookups is the number of lookups that get a proxy's response.
const proxiedLookups = 2

// ProvokedMisbehaviours are the misbehaviours that happen only on request.
var ProvokedMisbehaviours = []string{ProxyAfterTimeout, DeclinedThenApproved, CanceledAtDashboard}

// ChargeMisbehaviours are the misbehaviours that a run of 200 or more orders is
// expected to meet, each at least once.
var ChargeMisbehaviours = []string{Declined, ServerErrorOnce, TimeoutHidesSuccess, CallbackFirst, Late, Twice, OutOfOrder, Forged, WrongAmount}

// RefundMisbehaviours are the misbehaviours of refunds. A run without refunds
// meets none of them.
var RefundMisbehaviours = []string{RefundErrorOnce, RefundHidden}

// The three draws of a charge and the draw of its refund are independent, so that
// every combination occurs. Shares are in thousandths; the rest behaves well.
// TimeoutHidesSuccess applies only to approved charges, 90 % of its share.
const shareDeclined = 100

var (
	answerShares   = []share{{ServerErrorOnce, 80}, {TimeoutHidesSuccess, 80}, {CallbackFirst, 90}, {answerAtOnce, 150}}
	callbackShares = []share{{Late, 80}, {Twice, 100}, {OutOfOrder, 90}, {Forged, 90}, {WrongAmount, 90}}
	refundShares   = []share{{RefundErrorOnce, 150}, {RefundHidden, 150}}
)

// answerAtOnce is no misbehaviour: the response already has the final result, and
// the callback may arrive before or after it. Otherwise the response is PENDING.
const answerAtOnce = "answer_at_once"

type share struct {
	name      string
	thousands uint32
}

// Plan is how the simulator treats one charge. An empty name means that it behaves
// well.
type Plan struct {
	Status       gateway.Status // Approved or Declined
	FailedReason string         // of a declined charge
	Answer       string         // misbehaviour of the first response
	Callback     string         // misbehaviour of the callbacks
	Refund       string         // misbehaviour of the first refund request
	Delay        time.Duration  // before the first callback, 0 to 20 ms
}

var declineReasons = [4]string{"insufficient_funds", "card_expired", "limit_exceeded", "suspected_fraud"}

// PlanFor returns the plan for an order's charge; attempt is 1 for its first
// charge. It is a pure function, and its results must never change.
func PlanFor(seed uint64, orderKey string, attempt int) Plan {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d\x00%s\x00%d", seed, orderKey, attempt))
	draw := func(i int) uint32 { return binary.BigEndian.Uint32(sum[4*i:]) }

	p := Plan{
		Status:   gateway.Approved,
		Answer:   pick(answerShares, draw(1)),
		Callback: pick(callbackShares, draw(2)),
		Refund:   pick(refundShares, draw(3)),
		Delay:    time.Duration(draw(4)%20_000) * time.Microsecond,
	}
	if draw(0)%1000 < shareDeclined {
		p.Status, p.FailedReason = gateway.Declined, declineReasons[draw(5)%4]
		if p.Answer == TimeoutHidesSuccess {
			p.Answer = ""
		}
	}
	return p
}

func pick(shares []share, draw uint32) string {
	draw %= 1000
	for _, s := range shares {
		if draw < s.thousands {
			return s.name
		}
		draw -= s.thousands
	}
	return ""
}

package simulator

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"millrace/modules/payment/gateway"
)

// The names of what the simulator does that a client must survive. Each is
// counted in the book when it has been done, not when it is planned.
const (
	Declined            = "declined"              // the charge is refused by the issuer
	ServerErrorOnce     = "server_error_once"     // the first request is answered 503 and charges nothing
	TimeoutHidesSuccess = "timeout_hides_success" // the first request charges, and is never answered
	CallbackFirst       = "callback_first"        // the callback arrives before the answer to the request
	Late                = "late"                  // the callback comes after Config.Late
	Twice               = "twice"                 // the same callback, two copies at once
	OutOfOrder          = "out_of_order"          // PENDING arrives after the final result
	Forged              = "forged"                // a callback signed with another secret, telling the opposite; then the right one
	WrongAmount         = "wrong_amount"          // a well-signed callback with another amount; then the right one
	RefundErrorOnce     = "refund_error_once"     // the first request for a refund is answered 503
	RefundHidden        = "refund_hidden"         // the first request refunds, and is never answered
)

// ChargeMisbehaviours are the names that 200 orders and more are expected to
// meet, each one. Those of refunds are counted too, but there may be no refund.
var ChargeMisbehaviours = []string{Declined, ServerErrorOnce, TimeoutHidesSuccess, CallbackFirst, Late, Twice, OutOfOrder, Forged, WrongAmount}

// RefundMisbehaviours are the names that only refunds can meet.
var RefundMisbehaviours = []string{RefundErrorOnce, RefundHidden}

// The three draws of a charge, and the one of its refund, are independent, so
// that every combination occurs. Shares are in thousandths; the rest behaves.
// A timeout hides a success only where there is one: 90 % of its share.
const shareDeclined = 100

var (
	answerShares   = []share{{ServerErrorOnce, 80}, {TimeoutHidesSuccess, 80}, {CallbackFirst, 90}, {answerAtOnce, 150}}
	callbackShares = []share{{Late, 80}, {Twice, 100}, {OutOfOrder, 90}, {Forged, 90}, {WrongAmount, 90}}
	refundShares   = []share{{RefundErrorOnce, 150}, {RefundHidden, 150}}
)

// answerAtOnce is no misbehaviour: the answer already tells the final result,
// and races with the callback. Otherwise the answer is PENDING.
const answerAtOnce = "answer_at_once"

type share struct {
	name      string
	thousands uint32
}

// Plan is how the simulator treats one charge. "" means: behaves.
type Plan struct {
	Status       gateway.Status // Approved or Declined
	FailedReason string         // of a decline
	Answer       string         // how the first request is answered
	Callback     string         // how the result is told
	Refund       string         // how the first request for its refund is answered
	Delay        time.Duration  // before the first callback, 0 to 20 ms
}

var declineReasons = [4]string{"insufficient_funds", "card_expired", "limit_exceeded", "suspected_fraud"}

// PlanFor tells the treatment of the attempt-th charge (from 1) that an order
// is given. It is a pure function, for ever the same for the same arguments.
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

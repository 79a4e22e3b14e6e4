package e2e_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/gateway/simulator"
)

// refundable creates consultations until the simulator will approve both charges of
// one's deposit and the refund of the first.
func (p *serving) refundable() (id string) {
	p.t.Helper()
	for {
		made := p.must("POST", "/consultations", `{"hospitalId":4848,"memberId":77}`)
		id = fmt.Sprintf("%.0f", made["consultationId"])
		first, second := simulator.PlanFor(7, "deposit-"+id, 1), simulator.PlanFor(7, "deposit-"+id, 2)
		if first.Status == gateway.Approved && first.Refund == "" && second.Status == gateway.Approved {
			return id
		}
	}
}

func TestDeposit_IsPaidAgainAfterCancellationRefundAndReopening(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	p := w.serve("127.0.0.1:0")
	id := p.refundable()
	status := fmt.Sprintf(`SELECT status FROM consultation.consultation WHERE id = %s`, id)
	deposits := fmt.Sprintf(`SELECT coalesce(string_agg(state, ',' ORDER BY paid_at), '') FROM consultation.deposit WHERE consultation_id = %s`, id)
	moves := "/consultations/" + id + "/moves"
	pay := func(key string) (int, string) {
		return call(t.Context(), "POST", p.url+"/payments", payment("deposit-"+id, "77"), "Idempotency-Key: "+key)
	}

	code, answer := pay("first")
	require.Equal(t, 202, code, answer)
	w.eventually(status, "FIXED")
	code, answer = pay("too-early")
	require.Equal(t, 409, code, answer)
	p.must("POST", moves, `{"to":"CANCELED","actor":"MEMBER"}`)
	p.must("POST", moves, `{"to":"RECEIVED","actor":"MEMBER"}`)
	code, answer = call(t.Context(), "POST", p.url+moves, `{"to":"FIXED","actor":"HOSPITAL"}`)
	require.Equal(t, 409, code, answer)
	w.eventually(deposits, "refunded")
	code, answer = call(t.Context(), "POST", p.url+moves, `{"to":"FIXED","actor":"HOSPITAL"}`)
	require.Equal(t, 409, code, answer)

	code, answer = pay("second")
	require.Equal(t, 202, code, answer)
	w.eventually(status, "FIXED")
	require.Equal(t, "refunded,paid", w.one(deposits))
	w.quiet()
	require.Empty(t, w.deadLetters())
	require.Equal(t, "CONSULTATION_FIXED HOSPITAL", w.one(fmt.Sprintf(
		`SELECT transition || ' ' || actor FROM consultation.history WHERE consultation_id = %s ORDER BY position DESC LIMIT 1`, id)))
}

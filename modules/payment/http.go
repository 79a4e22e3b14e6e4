package payment

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"millrace/modules/payment/attention"
	"millrace/modules/payment/gateway"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/web"
)

type (
	newPaymentBody struct {
		OrderKey string `json:"orderKey" minLength:"7" maxLength:"64" pattern:"^(goods-[A-Za-z0-9-]+|deposit-[1-9][0-9]{0,18})$" patternDescription:"goods-… or deposit-<consultation id>" doc:"goods-… or deposit-<consultation id>" example:"goods-17"`
		UserID   string `json:"userId" minLength:"1" maxLength:"64" pattern:"^[A-Za-z0-9_-]([A-Za-z0-9_.-]*[A-Za-z0-9_-])?$" patternDescription:"letters, digits, '_', '.' or '-', without '.' at either end; no e-mail address or telephone number" doc:"The user's id in your system; it stays in events, so it is no e-mail address or telephone number" example:"user-9"`
		Amount   int64  `json:"amount" minimum:"1" doc:"In minor units of the currency: 15000 is ₩15,000, 1500 is $15.00" example:"15000"`
		Currency string `json:"currency" minLength:"3" maxLength:"3" pattern:"^[A-Z]{3}$" patternDescription:"three capitals" doc:"ISO 4217" example:"KRW"`
		Method   string `json:"method" minLength:"1" maxLength:"32" pattern:"^[A-Za-z_]+$" patternDescription:"letters or '_', as card or bank_transfer" doc:"A word, never a card's number" example:"card"`
	}
	startInput struct {
		Key  string `header:"Idempotency-Key" required:"true" minLength:"1" maxLength:"128" doc:"A new key for each payment. Send the same key and body again when the answer was lost"`
		Body newPaymentBody
	}
	startOutput struct {
		Location string `header:"Location" doc:"Where to read the payment"`
		Body     started
	}

	changeView struct {
		Status   status    `json:"status"`
		Captured int64     `json:"captured"`
		Refunded int64     `json:"refunded"`
		Cause    cause     `json:"cause" enum:"request,callback,answer,lookup,refund,provider" doc:"provider: it was done there, without our asking"`
		Detail   string    `json:"detail,omitempty"`
		CauseID  string    `json:"causeId,omitempty" doc:"The message that caused it"`
		At       time.Time `json:"at"`
	}
	resultView struct {
		Status         gateway.Status `json:"status" doc:"As the gateway gave it"`
		FailedReason   string         `json:"failedReason,omitempty"`
		CanceledAmount int64          `json:"canceledAmount,omitempty" doc:"How much had gone back by then, all parts together"`
		Source         source         `json:"source" enum:"callback,answer,lookup"`
		Verdict        verdict        `json:"verdict" enum:"settled,noted,late,reopened,returned,contradiction,unknown" doc:"What became of it. reopened: it succeeded after the payment had failed; returned: money went back at the provider"`
		At             time.Time      `json:"at"`
	}
	refundView struct {
		RefundID     string       `json:"refundId"`
		Amount       int64        `json:"amount"`
		Reason       string       `json:"reason"`
		RequestID    string       `json:"requestId,omitempty"`
		Status       refundStatus `json:"status" enum:"waiting,asked,done,refused,dropped"`
		FailedReason string       `json:"failedReason,omitempty"`
	}
	attentionView struct {
		ID       int64            `json:"id" doc:"For millrace payments acknowledge"`
		Reason   attention.Reason `json:"reason" enum:"late_success,duplicate_charge,provider_refund,partial_cancel,contradiction,unknown_status,unknown_result,refund_refused"`
		Detail   string           `json:"detail,omitempty"`
		Since    time.Time        `json:"since"`
		NextStep string           `json:"nextStep,omitempty" doc:"Left out when it has ended"`
		EndedAt  *time.Time       `json:"endedAt,omitempty"`
		EndedBy  string           `json:"endedBy,omitempty" doc:"Who acknowledged it; left out when it ended by itself"`
		EndedWhy string           `json:"endedWhy,omitempty"`
	}
	paymentView struct {
		PaymentID      string               `json:"paymentId"`
		OrderKey       string               `json:"orderKey"`
		OrderKind      paymentapi.OrderKind `json:"orderKind" enum:"goods,deposit"`
		UserID         string               `json:"userId"`
		Amount         int64                `json:"amount" doc:"In minor units"`
		Currency       string               `json:"currency"`
		Decimals       int                  `json:"decimals" doc:"How many digits of an amount stand behind the point"`
		Method         string               `json:"method"`
		Provider       string               `json:"provider"`
		Status         status               `json:"status" enum:"pending,completed,failed,refunding,refunded"`
		FailedReason   string               `json:"failedReason,omitempty"`
		Captured       int64                `json:"captured"`
		Refunded       int64                `json:"refunded"`
		TransactionKey string               `json:"transactionKey"`
		CreatedAt      time.Time            `json:"createdAt"`
		UpdatedAt      time.Time            `json:"updatedAt"`
		History        []changeView         `json:"history" doc:"Every change of status and amounts, oldest first"`
		GatewayResults []resultView         `json:"gatewayResults" doc:"The results that the gateway gave, each status once, oldest first"`
		Refunds        []refundView         `json:"refunds"`
		NeedsAttention []attentionView      `json:"needsAttention" doc:"What a person must look at, and what ended, oldest first"`
		Truncated      []string             `json:"truncated,omitempty" enum:"history,gatewayResults,refunds,needsAttention" doc:"Lists that have older entries than the newest 100, which are shown"`
	}
	getInput struct {
		ID uuid.UUID `path:"id" doc:"The payment's id"`
	}
	getOutput struct{ Body paymentView }

	callbackInput struct {
		ID         string `header:"webhook-id" doc:"Names the callback"`
		Timestamp  string `header:"webhook-timestamp" doc:"Seconds since 1970, at most 300 from now"`
		Signatures string `header:"webhook-signature" doc:"v1,<base64 of HMAC-SHA256 over id.timestamp.body>; several separated by spaces"`
		RawBody    []byte `contentType:"application/json"`
	}
)

// Routes registers the module's operations.
func (m *Module) Routes(api huma.API) {
	tags := []string{"payment"}
	web.Handle(api, huma.Operation{
		OperationID: "start-payment", Method: http.MethodPost, Path: "/payments", Tags: tags, DefaultStatus: http.StatusAccepted,
		Summary: "Pay for an order",
		Description: "The gateway is asked after the answer. The same Idempotency-Key with the same body is given the same answer; with " +
			"another body it is refused with 422. An order that was paid or is being paid is refused with 409, with that payment and its status. After a failure it may be paid again, " +
			"unless that payment's charge succeeded late and is still being refunded; after a full refund only a deposit may, for goods get a new key.",
	}, m.startPayment)
	web.Handle(api, huma.Operation{
		OperationID: "get-payment", Method: http.MethodGet, Path: "/payments/{id}", Tags: tags,
		Summary: "Read a payment with its history",
	}, m.getPayment)
	web.Handle(api, huma.Operation{
		OperationID: "gateway-callback", Method: http.MethodPost, Path: "/callbacks/gateway", Tags: tags,
		DefaultStatus: http.StatusNoContent, MaxBodyBytes: gateway.MaxCallback,
		SkipValidateBody: true, // the signature is verified before the body is parsed
		Summary:          "Receive a charge's result from the gateway",
		Description: "Signed after the Standard Webhooks specification. Repeated, late and not yet understood results are taken, with 204. " +
			"What is done at the provider's own dashboard comes as CANCELED, REFUNDED or PARTIAL_CANCELED, with canceledAmount: how much of the captured amount has gone back by now, all parts together; " +
			"without it, the amount of PARTIAL_CANCELED is that of one part, and each webhook-id is another part; REFUNDED and CANCELED stand for all of it. " +
			"Refused, and changing nothing: 401 forged or stale, 400 not JSON, 404 unknown transaction, 413 more than 64 KiB, 422 another order, amount or currency, or more canceled than was charged.",
	}, m.takeCallback)
}

func (m *Module) startPayment(ctx context.Context, in *startInput) (*startOutput, error) {
	s, err := m.service.start(ctx, in.Key, request(in.Body))
	if err != nil {
		return nil, err
	}
	return &startOutput{Location: "/payments/" + s.PaymentID, Body: s}, nil
}

func (m *Module) getPayment(ctx context.Context, in *getInput) (*getOutput, error) {
	view, err := readPayment(ctx, m.service.db, in.ID)
	if err != nil {
		return nil, err
	}
	return &getOutput{view}, nil
}

func (m *Module) takeCallback(ctx context.Context, in *callbackInput) (*struct{}, error) {
	return nil, m.service.callback(ctx, in.ID, in.Timestamp, in.Signatures, in.RawBody)
}

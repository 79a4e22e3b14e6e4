package payment

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/web"
)

type (
	newPaymentBody struct {
		OrderKey string `json:"orderKey" minLength:"7" maxLength:"64" pattern:"^(goods-[A-Za-z0-9-]+|deposit-[1-9][0-9]{0,18})$" patternDescription:"goods-… or deposit-<consultation id>" doc:"goods-… or deposit-<consultation id>" example:"goods-17"`
		UserID   string `json:"userId" minLength:"1" maxLength:"64" pattern:"^[A-Za-z0-9_.-]+$" patternDescription:"letters, digits, '_', '.' or '-'" example:"user-9"`
		Amount   int64  `json:"amount" minimum:"1" doc:"In minor units of the currency: 15000 is ₩15,000, 1500 is $15.00" example:"15000"`
		Currency string `json:"currency" minLength:"3" maxLength:"3" pattern:"^[A-Z]{3}$" patternDescription:"three capitals" doc:"ISO 4217" example:"KRW"`
		Method   string `json:"method" minLength:"1" maxLength:"32" pattern:"^[A-Za-z_]+$" patternDescription:"letters or '_', as card or bank_transfer" doc:"A word, never a card's number" example:"card"`
	}
	startInput struct {
		Key  string `header:"Idempotency-Key" required:"true" minLength:"1" maxLength:"128" doc:"Made anew for each payment by whoever asks, and repeated with the same body when the answer was lost"`
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
		Cause    cause     `json:"cause" enum:"request,callback,answer,refund"`
		Detail   string    `json:"detail,omitempty"`
		CauseID  string    `json:"causeId,omitempty" doc:"The message that caused it"`
		At       time.Time `json:"at"`
	}
	resultView struct {
		Status       gateway.Status `json:"status" doc:"As the gateway said it"`
		FailedReason string         `json:"failedReason,omitempty"`
		Source       source         `json:"source" enum:"callback,answer"`
		Verdict      verdict        `json:"verdict" enum:"settled,noted,late,contradiction,unknown" doc:"What became of it; somebody must look at the last two"`
		At           time.Time      `json:"at"`
	}
	refundView struct {
		RefundID     string       `json:"refundId"`
		Amount       int64        `json:"amount"`
		Reason       string       `json:"reason"`
		RequestID    string       `json:"requestId,omitempty"`
		Status       refundStatus `json:"status" enum:"waiting,asked,done,refused,dropped"`
		FailedReason string       `json:"failedReason,omitempty"`
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
		GatewayResults []resultView         `json:"gatewayResults" doc:"What the gateway said, each status once, oldest first"`
		Refunds        []refundView         `json:"refunds"`
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
			"another body it is refused with 422. An order that was paid (also if it was refunded), or is being paid, is refused with 409; after a failure it may be paid again.",
	}, m.startPayment)
	web.Handle(api, huma.Operation{
		OperationID: "get-payment", Method: http.MethodGet, Path: "/payments/{id}", Tags: tags,
		Summary: "Read a payment with its history",
	}, m.getPayment)
	web.Handle(api, huma.Operation{
		OperationID: "gateway-callback", Method: http.MethodPost, Path: "/callbacks/gateway", Tags: tags,
		DefaultStatus: http.StatusNoContent, MaxBodyBytes: gateway.MaxCallback,
		SkipValidateBody: true, // the signature is checked before a byte is believed
		Summary:          "The gateway tells a charge's result",
		Description: "Signed after the Standard Webhooks specification. Repeated, late and not yet understood results are taken, with 204. " +
			"Refused, and changing nothing: 401 forged or stale, 400 not JSON, 404 unknown transaction, 413 more than 64 KiB, 422 another order, amount or currency.",
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

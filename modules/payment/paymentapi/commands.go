package paymentapi

// Refund asks the payment module to refund the captured amount of an order. The
// package comment describes repeated and early commands.
type Refund struct {
	OrderKey  string `json:"orderKey"`
	PaymentID string `json:"paymentId,omitempty"` // which payment of the order; "": the one that is open or was captured
	Reason    string `json:"reason"`              // one of RefundReasons; other text is stored in payment's own table only
	RequestID string `json:"requestId,omitempty"` // the sender's id of the request, stored in the history
}

// CommandName is the command's stable name.
func (Refund) CommandName() string { return "payment.refund" }

// Key is the order key.
func (c Refund) Key() string { return c.OrderKey }

package paymentapi

// Refund asks the payment module to give back what was captured for an order.
// The package comment says what happens to one that is repeated or early.
type Refund struct {
	OrderKey  string `json:"orderKey"`
	Reason    string `json:"reason"`              // for the books and the user's message; at most 200 bytes, no personal data
	RequestID string `json:"requestId,omitempty"` // the sender's own name for the request, kept in the history
}

// CommandName is the command's stable name.
func (Refund) CommandName() string { return "payment.refund" }

// Key is the order.
func (c Refund) Key() string { return c.OrderKey }

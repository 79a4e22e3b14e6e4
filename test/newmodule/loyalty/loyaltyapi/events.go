package loyaltyapi

// PointsAwarded is published when a user got points for an order.
type PointsAwarded struct {
	UserID   string `json:"userId"`
	OrderKey string `json:"orderKey"`
	Points   int64  `json:"points"`
}

// EventName is the event's stable name.
func (PointsAwarded) EventName() string { return "loyalty.points_awarded" }

// Key is the order.
func (e PointsAwarded) Key() string { return e.OrderKey }

package deliveryapi

// Prepared is published when a paid order has an address that a carrier serves.
// The parcel waits to be shipped. Key: the order key.
type Prepared struct {
	DeliveryID string `json:"deliveryId"`
	OrderKey   string `json:"orderKey"`
	UserID     string `json:"userId"`
}

// Shipped is published when a carrier took the parcel. Key: the order key.
type Shipped struct {
	DeliveryID     string `json:"deliveryId"`
	OrderKey       string `json:"orderKey"`
	UserID         string `json:"userId"`
	Carrier        string `json:"carrier"`
	TrackingNumber string `json:"trackingNumber"`
}

// Delivered is published when the parcel reached its address. Key: the order key.
type Delivered struct {
	DeliveryID     string `json:"deliveryId"`
	OrderKey       string `json:"orderKey"`
	UserID         string `json:"userId"`
	Carrier        string `json:"carrier"`
	TrackingNumber string `json:"trackingNumber"`
}

// Failed is published when no carrier serves the address of a paid order. Delivery
// has also sent payment the command to refund. Key: the order key.
type Failed struct {
	DeliveryID string `json:"deliveryId"`
	OrderKey   string `json:"orderKey"`
	UserID     string `json:"userId"`
	Reason     string `json:"reason"`
}

// Cancelled is published when the payment was refunded before the parcel was
// shipped; it will not be shipped. Key: the order key.
type Cancelled struct {
	DeliveryID string `json:"deliveryId"`
	OrderKey   string `json:"orderKey"`
	UserID     string `json:"userId"`
	Reason     string `json:"reason"`
}

// EventName is the event's stable name.
func (Prepared) EventName() string { return "delivery.prepared" }

// Key is the order.
func (e Prepared) Key() string { return e.OrderKey }

// EventName is the event's stable name.
func (Shipped) EventName() string { return "delivery.shipped" }

// Key is the order.
func (e Shipped) Key() string { return e.OrderKey }

// EventName is the event's stable name.
func (Delivered) EventName() string { return "delivery.delivered" }

// Key is the order.
func (e Delivered) Key() string { return e.OrderKey }

// EventName is the event's stable name.
func (Failed) EventName() string { return "delivery.failed" }

// Key is the order.
func (e Failed) Key() string { return e.OrderKey }

// EventName is the event's stable name.
func (Cancelled) EventName() string { return "delivery.cancelled" }

// Key is the order.
func (e Cancelled) Key() string { return e.OrderKey }

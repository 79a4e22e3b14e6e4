// Package deliveryapi is the contract of the delivery module: the events that it
// publishes. Delivery handles no command.
//
// A delivery belongs to one order of goods, and an order has at most one delivery.
// The events of an order arrive in the order of the delivery's changes:
//
//	delivery.prepared → delivery.shipped → delivery.delivered
//	delivery.failed                        (the last event)
//	[delivery.prepared →] delivery.cancelled   (the last event)
//
// Each of the five is published at most once for an order. There is no event while
// the address is unknown, and none for a deposit.
//
// The events contain ids and facts, never the address. Names and fields are
// permanent: contracts grow by adding fields.
package deliveryapi

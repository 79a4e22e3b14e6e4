// Package deliveryapi is what other modules may know of delivery: the events
// it publishes. Delivery handles no command.
//
// A delivery belongs to one order of goods, and an order has at most one
// delivery. Its events come in the order in which the delivery moved, per
// order key:
//
//	delivery.prepared → delivery.shipped → delivery.delivered
//	delivery.failed                        (nothing follows)
//	[delivery.prepared →] delivery.cancelled   (nothing follows)
//
// Each of the five is published at most once for an order. An order whose
// address is not known yet, or a deposit, has published nothing.
//
// The events carry ids and facts; the address stays in delivery. The names and
// the fields are for ever: contracts grow by adding fields.
package deliveryapi

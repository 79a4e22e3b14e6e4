package paymentapi

import (
	"strconv"
	"strings"
)

// OrderKind is what an order is for. It is the prefix of the order key.
type OrderKind string

// The kinds of order.
const (
	Goods   OrderKind = "goods"   // goods-…: something to deliver
	Deposit OrderKind = "deposit" // deposit-<consultation id>: the deposit of a reservation
)

// maxOrderKey is the greatest length of an order key in bytes.
const maxOrderKey = 64

// KindOf returns the kind of an order key, or false if the key is malformed. A
// key is a known kind, '-', and one or more characters of A–Z a–z 0–9 and '-', at
// most 64 bytes in all. A deposit's key is deposit-<consultation id>, where the id
// is a positive bigint without leading zeros: each consultation has exactly one
// key.
func KindOf(orderKey string) (OrderKind, bool) {
	if len(orderKey) > maxOrderKey {
		return "", false
	}
	for _, r := range orderKey {
		if r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			return "", false
		}
	}
	prefix, rest, _ := strings.Cut(orderKey, "-")
	switch kind := OrderKind(prefix); kind {
	case Goods:
		return kind, rest != ""
	case Deposit:
		id, err := strconv.ParseInt(rest, 10, 64)
		return kind, err == nil && id > 0 && strconv.FormatInt(id, 10) == rest
	}
	return "", false
}

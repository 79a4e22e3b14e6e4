package paymentapi

import (
	"strconv"
	"strings"
)

// OrderKind is what an order is about. It is the order key's prefix.
type OrderKind string

// The kinds of order.
const (
	Goods   OrderKind = "goods"   // goods-…: something to deliver
	Deposit OrderKind = "deposit" // deposit-<consultation id>: a reservation's deposit
)

// maxOrderKey is an order key's greatest length in bytes.
const maxOrderKey = 64

// KindOf returns the kind that an order key carries; false when the key is not
// one: A–Z a–z 0–9 and '-', at most 64 bytes, a known kind, '-', and more. A
// deposit's is deposit-<consultation id>, a positive bigint written in the one
// way: another key's money nobody could use.
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

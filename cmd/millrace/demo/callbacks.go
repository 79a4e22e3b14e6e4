package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/gateway/simulator"
)

const (
	refusedPromise  = "a forged, stale, malformed, wrong or too large callback is refused, and changes nothing"
	repeatedPromise = "copies of a callback leave the state of one, and get the same 2xx"
)

// callbacks sends forged and repeated callbacks to the program, and compares the
// database before and after.
type callbacks struct {
	target string // POST /callbacks/gateway
	secret []byte // with which the program verifies callbacks
	book   simulator.Book
	hash   func(context.Context) (map[string]string, error)
}

// callback is a callback to send.
type callback struct {
	what   string
	id     string
	body   []byte
	at     time.Time
	secret []byte
	bare   bool // without the three headers
}

// refused checks promise S7: forged callbacks are refused and change nothing.
func (c *callbacks) refused(ctx context.Context) (finding, error) {
	f := finding{Name: "S7", Promise: refusedPromise}
	forgeries, err := c.forgeries()
	if err != nil {
		return f, err
	}
	before, err := c.hash(ctx)
	if err != nil {
		return f, err
	}
	for _, bad := range forgeries {
		status, err := send(ctx, c.target, bad)
		if err != nil {
			return f, fmt.Errorf("callback that is %s: %w", bad.what, err)
		}
		if status < 400 || status > 499 {
			f.Offenders = append(f.Offenders, fmt.Sprintf("a callback that is %s was answered %d", bad.what, status))
		}
	}
	after, err := c.hash(ctx)
	f.Offenders = append(f.Offenders, differences(before, after)...)
	return f, err
}

// repeated checks promise S8: copies of a callback change nothing.
func (c *callbacks) repeated(ctx context.Context) (finding, error) {
	const copies = 5
	f := finding{Name: "S8", Promise: repeatedPromise}
	before, err := c.hash(ctx)
	if err != nil {
		return f, err
	}
	for _, charge := range c.examples() {
		body, err := json.Marshal(resultOf(charge))
		if err != nil {
			return f, err
		}
		id := charge.Callbacks[len(charge.Callbacks)-1].ID
		statuses, failures := [copies]int{}, [copies]error{}
		var all sync.WaitGroup
		for i := range copies {
			all.Go(func() {
				statuses[i], failures[i] = send(ctx, c.target, callback{id: id, body: body, at: time.Now(), secret: c.secret})
			})
		}
		all.Wait()
		for i := range copies {
			if failures[i] != nil {
				return f, failures[i]
			}
			if statuses[i] != statuses[0] || statuses[i] < 200 || statuses[i] > 299 {
				f.Offenders = append(f.Offenders, fmt.Sprintf("the copies of callback %s of order %s were answered %v", id, charge.OrderKey, statuses))
				break
			}
		}
	}
	after, err := c.hash(ctx)
	f.Offenders = append(f.Offenders, differences(before, after)...)
	return f, err
}

// resultOf is a charge's result in the gateway's format.
func resultOf(c simulator.Charge) gateway.Result {
	return gateway.Result{
		TransactionKey: c.TransactionKey, OrderKey: c.OrderKey, Amount: c.Amount, Currency: c.Currency,
		Status: c.Status, FailedReason: c.FailedReason,
	}
}

// examples are up to ten charges, both approved and declined.
func (c *callbacks) examples() (all []simulator.Charge) {
	const each = 5
	taken := map[gateway.Status]int{}
	for _, charge := range c.book.Charges {
		if len(charge.Callbacks) > 0 && charge.Status != gateway.Pending && taken[charge.Status] < each {
			taken[charge.Status]++
			all = append(all, charge)
		}
	}
	return all
}

// forgeries are callbacks that the program must refuse, about both approved and
// declined charges.
func (c *callbacks) forgeries() (all []callback, err error) {
	now := time.Now()
	for _, charge := range c.examples() {
		truth, lie, more, currency, order := resultOf(charge), resultOf(charge), resultOf(charge), resultOf(charge), resultOf(charge)
		lie.Status, lie.FailedReason = gateway.Approved, ""
		if truth.Status == gateway.Approved {
			lie.Status, lie.FailedReason = gateway.Canceled, "forged"
		}
		more.Amount++
		if currency.Currency = "KRW"; truth.Currency == "KRW" {
			currency.Currency = "USD"
		}
		order.OrderKey += "-other"
		bodies := make([][]byte, 5)
		for i, r := range []gateway.Result{truth, lie, more, currency, order} {
			if bodies[i], err = json.Marshal(r); err != nil {
				return nil, err
			}
		}
		about := " (order " + charge.OrderKey + ")"
		add := func(what string, body []byte, at time.Time, secret []byte, bare bool) {
			all = append(all, callback{what + about, fmt.Sprintf("msg_demo_%d", len(all)), body, at, secret, bare})
		}
		add("forged with another secret", bodies[1], now, []byte("the secret of somebody else"), false)
		add("not signed at all", bodies[1], now, nil, true)
		add("signed ten minutes ago", bodies[0], now.Add(-10*time.Minute), c.secret, false)
		add("signed ten minutes from now", bodies[0], now.Add(10*time.Minute), c.secret, false)
		add("well signed, with another amount", bodies[2], now, c.secret, false)
		add("well signed, in another currency", bodies[3], now, c.secret, false)
		add("well signed, for another order", bodies[4], now, c.secret, false)
		add("well signed, and cut off", bodies[0][:len(bodies[0])/2], now, c.secret, false)
		add("well signed, and two in one", append(bytes.Clone(bodies[0]), bodies[1]...), now, c.secret, false)
		add("well signed, and empty", []byte(`{}`), now, c.secret, false)
		add("well signed, and no JSON", []byte("\x00\xff status=APPROVED"), now, c.secret, false)
		add("well signed, and too large", append(bytes.Clone(bodies[0]), bytes.Repeat([]byte(" "), gateway.MaxCallback)...), now, c.secret, false)
	}
	return all, nil
}

func send(ctx context.Context, target string, c callback) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience) // the request is not retried
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(c.body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	if !c.bare {
		req.Header.Set(gateway.HeaderID, c.id)
		req.Header.Set(gateway.HeaderTimestamp, strconv.FormatInt(c.at.Unix(), 10))
		req.Header.Set(gateway.HeaderSignature, gateway.Sign(c.secret, c.id, c.at, c.body))
	}
	res, err := http.DefaultClient.Do(req) //nolint:forbidigo // ctx is its time limit
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20)) // only the status is used
	return res.StatusCode, nil
}

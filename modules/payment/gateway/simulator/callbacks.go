package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"millrace/modules/payment/gateway"
)

// callbacks sends the callbacks of a charge that its plan requires. It returns
// when each one got a final response or was given up, or the simulator is closed.
func (s *Simulator) callbacks(c *charge) {
	defer s.end(c)
	truth := s.result(c)
	if !s.sleep(c.plan.Delay) {
		return
	}
	switch c.plan.Callback {
	case Late:
		if s.sleep(s.cfg.Late) && s.send(c, RightCallback, truth, 1) {
			s.count(Late)
		}
	case Twice:
		if s.send(c, RightCallback, truth, 2) {
			s.count(Twice)
		}
	case OutOfOrder:
		older := truth
		older.Status, older.FailedReason = gateway.Pending, ""
		if s.send(c, RightCallback, truth, 1) && s.send(c, OutOfOrder, older, 1) {
			s.count(OutOfOrder)
		}
	case Forged:
		lie := truth
		if lie.Status, lie.FailedReason = gateway.Approved, ""; truth.Status == gateway.Approved {
			lie.Status, lie.FailedReason = gateway.Declined, "forged"
		}
		if s.send(c, Forged, lie, 1) {
			s.count(Forged)
		}
		s.send(c, RightCallback, truth, 1)
	case WrongAmount:
		wrong := truth
		wrong.Amount++
		if s.send(c, WrongAmount, wrong, 1) {
			s.count(WrongAmount)
		}
		s.send(c, RightCallback, truth, 1)
	case DeclinedThenApproved:
		declined := truth
		declined.Status, declined.FailedReason = gateway.Declined, "issuer_unavailable"
		if s.send(c, DeclinedThenApproved, declined, 1) && s.sleep(s.cfg.Late) && s.send(c, RightCallback, truth, 1) {
			s.count(DeclinedThenApproved)
		}
	default:
		s.send(c, RightCallback, truth, 1)
	}
}

// end records that a charge's callbacks are finished. If the simulator was closed
// before that, they are not: a later process may send them.
func (s *Simulator) end(c *charge) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
	c.ended = s.ctx.Err() == nil
	s.changes++
}

// send sends copies of one callback concurrently and retries each until it gets a
// final response. It reports whether all of them did.
func (s *Simulator) send(c *charge, kind string, result gateway.Result, copies int) bool {
	body, err := json.Marshal(result)
	if err != nil {
		panic(err) // strings and numbers always encode
	}
	s.mu.Lock()
	id := fmt.Sprintf("msg_%s_%d", c.row.TransactionKey, len(c.row.Callbacks)+1)
	first := len(c.row.Callbacks)
	for range copies {
		c.row.Callbacks = append(c.row.Callbacks, Callback{ID: id, Kind: kind, Status: result.Status, Amount: result.Amount})
	}
	s.changes++
	s.mu.Unlock()

	answered := make([]bool, copies)
	var all sync.WaitGroup
	for i := range copies {
		all.Go(func() { answered[i] = s.deliver(c, first+i, id, kind, body) })
	}
	all.Wait()
	for _, ok := range answered {
		if !ok {
			return false
		}
	}
	return true
}

// deliver sends one copy of a callback and retries until it gets a final response.
func (s *Simulator) deliver(c *charge, index int, id, kind string, body []byte) bool {
	const firstPause, longestPause = 100 * time.Millisecond, 2 * time.Second
	target, ok := s.callbackURL(c.asked)
	if !ok {
		return false // only for a charge in a book of an older version
	}
	secrets := s.secrets
	if kind == Forged {
		secrets = [][]byte{s.forger}
	}
	giveUp := time.Now().Add(s.cfg.GiveUp)
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		status := s.try(target, id, secrets, body)
		good := isFinal(status)
		over := time.Now().After(giveUp)
		s.mu.Lock()
		row := &c.row.Callbacks[index]
		row.Tries++
		row.Answer, row.Done = status, good || over
		s.changes++
		s.mu.Unlock()
		if good {
			return true
		}
		if over {
			s.cfg.Log.Warn("the gateway simulator gave up a callback", "callback", id, "status", status)
			return false
		}
		if !s.sleep(pause) {
			return false
		}
	}
}

// isFinal reports whether an HTTP status ends the attempts: success, or a refusal
// that a retry cannot change. 0 means no response.
func isFinal(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return status >= 200 && status < 300 || status >= 400 && status < 500
}

// try sends a callback once and returns the response's status, or 0. Each attempt
// has a new signature, because signatures are valid for minutes only.
func (s *Simulator) try(target, id string, secrets [][]byte, body []byte) int {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-s.ctx.Done():
		return 0
	}
	req, err := http.NewRequestWithContext(s.ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return 0
	}
	now := time.Now()
	signatures := make([]string, len(secrets))
	for i, secret := range secrets {
		signatures[i] = gateway.Sign(secret, id, now, body)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(gateway.HeaderID, id)
	req.Header.Set(gateway.HeaderTimestamp, fmt.Sprint(now.Unix()))
	req.Header.Set(gateway.HeaderSignature, strings.Join(signatures, " "))
	res, err := s.client.Do(req)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxBody)) // so that the connection is reused
	return res.StatusCode
}

// sleep waits for d. It returns false if the simulator is closed first.
func (s *Simulator) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

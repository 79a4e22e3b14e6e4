package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"millrace/platform/errs"
)

const (
	requestTimeout = 15 * time.Second
	firstPause     = 25 * time.Millisecond
	longestPause   = 500 * time.Millisecond
)

// client sends requests like a shop's web site: it retries after a broken connection
// or a 5xx, with the same idempotency key.
type client struct {
	url      string
	http     *http.Client
	inFlight atomic.Int64
	again    atomic.Int64                // the number of retries, to print
	stalled  func(began time.Time) error // an error: stop waiting
}

func newClient(url string) *client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy, transport.MaxIdleConnsPerHost = nil, 64
	stalled := (&movement{patience: patience}).stalled // replaced once there is a database to watch
	return &client{url: url, http: &http.Client{Timeout: requestTimeout, Transport: transport}, stalled: stalled}
}

// refusedError is a response that a retry cannot change.
type refusedError struct {
	method, path string
	status       int
	body         string
}

func (e *refusedError) Error() string {
	return fmt.Sprintf("%s %s was answered %d: %s", e.method, e.path, e.status, e.body)
}

// do sends a request and retries it until the response is final. into may be nil. key
// is the idempotency key, or "".
func (c *client) do(ctx context.Context, method, path, key string, body, into any) error {
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return err
		}
	}
	began := time.Now()
	for wait := firstPause; ; wait = min(2*wait, longestPause) {
		status, answer, err := c.try(ctx, method, path, key, data)
		switch {
		case err == nil && status >= 200 && status < 300:
			if into == nil {
				return nil
			}
			return json.Unmarshal(answer, into)
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && !repeatable(status):
			const longest = 500
			return &refusedError{method, path, status, string(answer[:min(len(answer), longest)])}
		}
		if stalled := c.stalled(began); stalled != nil {
			last := fmt.Sprintf("status %d", status)
			if err != nil {
				last = err.Error()
			}
			return errs.New(errs.Resource, "%s %s had no answer, last with %s, and %w", method, path, last, stalled)
		}
		c.again.Add(1)
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

func repeatable(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return status >= 500
}

func (c *client) try(ctx context.Context, method, path, key string, data []byte) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(data))
	if err != nil {
		return 0, nil, err
	}
	if data != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	c.inFlight.Add(1)
	defer c.inFlight.Add(-1)
	res, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	const largest = 4 << 20
	answer, err = io.ReadAll(io.LimitReader(res.Body, largest))
	return res.StatusCode, answer, err
}

// pause waits for d. If ctx ends first, it returns ctx's error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"millrace/platform/errs"
)

// Client is a Gateway over HTTP: POST <url>/charges and POST <url>/refunds with
// an Idempotency-Key, JSON both ways, answers of at most 64 KiB. It follows no
// redirect (the gateway's address is configuration) and never asks twice by itself.
type Client struct {
	url  string
	http *http.Client
}

var _ Gateway = (*Client)(nil)

// NewClient returns a client of the gateway at base, as "http://127.0.0.1:9090".
// Each request ends after timeout, whatever its context says.
func NewClient(base string, timeout time.Duration) *Client {
	return &Client{url: base, http: &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 32, IdleConnTimeout: time.Minute,
			MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true,
		},
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Charge asks for a charge, or asks again what became of it.
func (c *Client) Charge(ctx context.Context, charge Charge) (Result, error) {
	var r Result
	if err := c.post(ctx, "charges", charge.TransactionKey, charge, &r); err != nil {
		return Result{}, err
	}
	if r.TransactionKey != charge.TransactionKey || r.OrderKey != charge.OrderKey ||
		r.Amount != charge.Amount || r.Currency != charge.Currency || !validStatus(r.Status) {
		return Result{}, fmt.Errorf("gateway: the answer to charge %s is about something else", charge.TransactionKey)
	}
	r.FailedReason = CleanReason(r.FailedReason)
	return r, nil
}

// Refund asks for a refund, or asks again what became of it.
func (c *Client) Refund(ctx context.Context, refund Refund) (RefundResult, error) {
	var r RefundResult
	if err := c.post(ctx, "refunds", refund.RefundID, refund, &r); err != nil {
		return RefundResult{}, err
	}
	if r.RefundID != refund.RefundID || r.TransactionKey != refund.TransactionKey ||
		r.Amount != refund.Amount || r.Currency != refund.Currency || !validStatus(r.Status) {
		return RefundResult{}, fmt.Errorf("gateway: the answer to refund %s is about something else", refund.RefundID)
	}
	r.FailedReason = CleanReason(r.FailedReason)
	return r, nil
}

func (c *Client) post(ctx context.Context, path, key string, body, answer any) error {
	at, err := url.JoinPath(c.url, path)
	if err != nil {
		return fmt.Errorf("gateway: address: %w", err)
	}
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("gateway: encode: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	res, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	defer res.Body.Close()
	data, err = io.ReadAll(io.LimitReader(res.Body, MaxCallback+1))
	if err != nil {
		return fmt.Errorf("gateway: read the answer to %s: %w", path, err)
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return refusal(path, res.StatusCode, data)
	}
	if len(data) > MaxCallback {
		return fmt.Errorf("gateway: the answer to %s is longer than %d bytes", path, MaxCallback)
	}
	if err := json.Unmarshal(data, answer); err != nil {
		// Not Undecodable: that would be final, and the charge may have been made.
		return fmt.Errorf("gateway: the answer to %s is not JSON", path)
	}
	return nil
}

// keyReused is the code of "under this key another request was made before".
const keyReused = "idempotency_key_reused"

// refusal is the one table from the gateway's HTTP status to a kind. Only what
// says "this request is wrong, and always will be" is final. The rest leaves the
// result unknown, also 401, 403 and 404: a wrong key or address on our side says
// nothing of an earlier request that may have been heard. A key that was used for
// another request says that one was heard.
func refusal(path string, status int, body []byte) error {
	kind := errs.Unknown
	switch {
	case status == http.StatusBadRequest, status == http.StatusRequestEntityTooLarge, status == http.StatusUnprocessableEntity:
		kind = errs.Invalid
	case status == http.StatusConflict: // the first request with this key is still being worked on
		kind = errs.Contention
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500:
		kind = errs.Resource
	}
	var problem struct {
		Code string `json:"code"`
	}
	_ = json.Unmarshal(body, &problem) // a refusal without a code is a refusal all the same
	code := CleanReason(problem.Code)
	if code == "" {
		code = fmt.Sprintf("http_%d", status)
	}
	if code == keyReused {
		kind = errs.Unknown
	}
	return &errs.Error{Kind: kind, Field: code, Msg: fmt.Sprintf("gateway refused %s with status %d", path, status)}
}

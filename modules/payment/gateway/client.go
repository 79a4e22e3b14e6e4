package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"time"

	"millrace/platform/errs"
	"millrace/platform/strictjson"
)

// Client is a Gateway over HTTP: POST <url>/charges and POST <url>/refunds with an
// Idempotency-Key, GET <url>/charges/<transaction key> and GET
// <url>/refunds/<refund id>. Bodies are JSON, responses at most 64 KiB. It follows
// no redirects, because the gateway's address is configuration, and never retries.
//
// A proxy between the client and the provider can also answer. A response counts
// as the provider's own only if its Content-Type is application/json and its body
// is one JSON object (package strictjson) that is either a result about the
// requested charge or refund (HTTP 200, 201 or 202), or a code of the contract
// with the HTTP status of that code and no other charge or refund named. After
// any other response the result is unknown.
type Client struct {
	url  string
	http *http.Client
}

var _ Gateway = (*Client)(nil)

// NewClient returns a client of the gateway at base, as "http://127.0.0.1:9090".
// Each request ends after timeout, regardless of its context.
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

// Charge requests a charge.
func (c *Client) Charge(ctx context.Context, charge Charge) (Result, error) {
	var r Result
	err := c.post(ctx, "charges", charge.TransactionKey, charge, &r)
	return checkedResult(charge, r, err)
}

// Lookup returns the current result of a charge.
func (c *Client) Lookup(ctx context.Context, charge Charge) (Result, error) {
	var r Result
	err := c.get(ctx, "charges", charge.TransactionKey, &r)
	return checkedResult(charge, r, err)
}

func checkedResult(charge Charge, r Result, err error) (Result, error) {
	if err != nil {
		return Result{}, asRetriable(err)
	}
	if r.TransactionKey != charge.TransactionKey || r.OrderKey != charge.OrderKey || r.Amount != charge.Amount ||
		r.Currency != charge.Currency || !validStatus(r.Status) || r.CanceledAmount < 0 || r.CanceledAmount > r.Amount {
		return Result{}, fmt.Errorf("gateway: the answer about charge %s is about something else", charge.TransactionKey)
	}
	r.FailedReason = CleanReason(r.FailedReason)
	return r, nil
}

// Refund requests a refund.
func (c *Client) Refund(ctx context.Context, refund Refund) (RefundResult, error) {
	var r RefundResult
	err := c.post(ctx, "refunds", refund.RefundID, refund, &r)
	return checkedRefund(refund, r, err)
}

// LookupRefund returns the current result of a refund.
func (c *Client) LookupRefund(ctx context.Context, refund Refund) (RefundResult, error) {
	var r RefundResult
	err := c.get(ctx, "refunds", refund.RefundID, &r)
	return checkedRefund(refund, r, err)
}

func checkedRefund(refund Refund, r RefundResult, err error) (RefundResult, error) {
	if err != nil {
		return RefundResult{}, asRetriable(err)
	}
	if r.RefundID != refund.RefundID || r.TransactionKey != refund.TransactionKey ||
		r.Amount != refund.Amount || r.Currency != refund.Currency || !validStatus(r.Status) {
		return RefundResult{}, fmt.Errorf("gateway: the answer about refund %s is about something else", refund.RefundID)
	}
	r.FailedReason = CleanReason(r.FailedReason)
	return r, nil
}

func (c *Client) post(ctx context.Context, path, name string, body, result any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("gateway: encode: %w", err)
	}
	return c.do(ctx, http.MethodPost, path, "", name, data, result)
}

func (c *Client) get(ctx context.Context, path, name string, result any) error {
	return c.do(ctx, http.MethodGet, path, name, name, nil, result)
}

// do makes one request about the charge or refund with this name, and decodes the
// provider's result.
func (c *Client) do(ctx context.Context, method, path, below, name string, body []byte, result any) error {
	at, err := url.JoinPath(c.url, path, url.PathEscape(below))
	if err != nil {
		return fmt.Errorf("gateway: address: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, method, at, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", name)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	defer res.Body.Close()
	what := method + " " + path
	data, err := io.ReadAll(io.LimitReader(res.Body, MaxCallback+1))
	if err != nil {
		return fmt.Errorf("gateway: read the answer to %s: %w", what, err)
	}
	isJSON := len(data) <= MaxCallback && isContractType(res.Header.Get("Content-Type"))
	switch res.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusAccepted:
		if !isJSON {
			return fmt.Errorf("gateway: the answer to %s is not JSON of at most %d bytes", what, MaxCallback)
		}
		if err := strictjson.Unmarshal(data, result); err != nil {
			return errs.New(errs.Unknown, "gateway: the answer to %s is not a result: %w", what, err)
		}
		return nil
	}
	var refusal refusalBody
	isContract := isJSON && strictjson.Unmarshal(data, &refusal) == nil && refusal.isAbout(name)
	return responseError(what, res.StatusCode, refusal, isContract)
}

// refusalBody is the body of a response that is not a result. It may name the
// charge or refund that it is about; if it does, it must be the requested one.
type refusalBody struct {
	Code           string `json:"code"`
	TransactionKey string `json:"transactionKey"`
	RefundID       string `json:"refundId"`
}

func (r refusalBody) isAbout(name string) bool {
	return r.RefundID == name || r.RefundID == "" && (r.TransactionKey == name || r.TransactionKey == "")
}

// isContractType reports whether a Content-Type is the one of the contract.
func isContractType(contentType string) bool {
	form, _, err := mime.ParseMediaType(contentType)
	return err == nil && form == "application/json"
}

package devinbox_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
	"millrace/platform/mail"
	"millrace/platform/mail/devinbox"
)

func start(t *testing.T, cfg devinbox.Config) *devinbox.Inbox {
	t.Helper()
	inbox, err := devinbox.Start(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, inbox.Close()) })
	return inbox
}

func send(t *testing.T, inbox *devinbox.Inbox, m mail.Message) {
	t.Helper()
	host, port := inbox.HostPort()
	sender, err := mail.New(mail.Config{Host: host, Port: port, From: "no-reply@example.com"})
	require.NoError(t, err)
	require.NoError(t, sender.Send(t.Context(), m))
}

func get(t *testing.T, inbox *devinbox.Inbox, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	inbox.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w
}

const hostile = `<script>alert("mail")</script>`

func TestPage_EscapesContentOfMails(t *testing.T) {
	t.Parallel()
	inbox := start(t, devinbox.Config{})
	send(t, inbox, mail.Message{ID: "1", To: "kim@example.com", Subject: hostile, Text: hostile, HTML: "<p>" + hostile + "</p>"})
	for _, path := range []string{"/", "/messages/1"} {
		page := get(t, inbox, path)
		require.Equal(t, http.StatusOK, page.Code)
		require.NotContains(t, page.Body.String(), "<script")
		require.Contains(t, page.Body.String(), "&lt;script&gt;")
		require.NotContains(t, page.Header().Get("Content-Security-Policy"), "unsafe")
		require.NotContains(t, page.Body.String(), "style=")
		require.Contains(t, page.Body.String(), `<a href="/">Start page</a>`)
	}
	require.Contains(t, get(t, inbox, "/messages/1").Body.String(), `<iframe sandbox title=`)
	frame := get(t, inbox, "/messages/1/html")
	require.Contains(t, frame.Header().Get("Content-Security-Policy"), "sandbox; default-src 'none'")
	require.Equal(t, "SAMEORIGIN", frame.Header().Get("X-Frame-Options"))
	require.Equal(t, "text/css; charset=utf-8", get(t, inbox, "/style.css").Header().Get("Content-Type"))
}

func TestPage_MissingMailIs404(t *testing.T) {
	t.Parallel()
	inbox := start(t, devinbox.Config{})
	for _, path := range []string{"/messages/1", "/messages/x", "/messages/1/html", "/other"} {
		require.Equal(t, http.StatusNotFound, get(t, inbox, path).Code, path)
	}
}

func TestMessagesJSON_IsInOrderOfAcceptance(t *testing.T) {
	t.Parallel()
	inbox := start(t, devinbox.Config{})
	for n := range 3 {
		send(t, inbox, mail.Message{ID: fmt.Sprint(n), To: "kim@example.com", Subject: "s", Text: "t"})
	}
	var got struct {
		Total    int64              `json:"total"`
		Messages []devinbox.Message `json:"messages"`
	}
	require.NoError(t, json.Unmarshal(get(t, inbox, "/messages.json?after=1").Body.Bytes(), &got))
	require.EqualValues(t, 3, got.Total)
	require.Len(t, got.Messages, 2)
	require.Equal(t, "1@example.com", got.Messages[0].MessageID)
	require.Equal(t, "2@example.com", got.Messages[1].MessageID)
	require.Equal(t, http.StatusBadRequest, get(t, inbox, "/messages.json?after=x").Code)
}

func TestInbox_DropsOldestMailsFirst(t *testing.T) {
	t.Parallel()
	inbox := start(t, devinbox.Config{Keep: 2})
	for n := range 3 {
		send(t, inbox, mail.Message{ID: fmt.Sprint(n), To: "kim@example.com", Subject: "s", Text: "t"})
	}
	kept := inbox.Messages()
	require.Len(t, kept, 2)
	require.EqualValues(t, 2, kept[0].Seq)
	require.EqualValues(t, 3, inbox.Total())
	require.Equal(t, http.StatusNotFound, get(t, inbox, "/messages/1").Code)
	require.Equal(t, http.StatusOK, get(t, inbox, "/messages/3").Code)
}

func TestStart_ListensOnLoopbackOnly(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"0.0.0.0:0", "example.com:25", "127.0.0.1"} {
		_, err := devinbox.Start(devinbox.Config{Addr: addr})
		require.Equal(t, errs.Invalid, errs.KindOf(err), addr)
	}
	for _, addr := range []string{"", ":0", "127.0.0.1:0", "localhost:0", "[::1]:0"} {
		host, _ := start(t, devinbox.Config{Addr: addr}).HostPort()
		require.True(t, net.ParseIP(host).IsLoopback(), addr)
	}
}

// Large mails do not fill the memory.
func TestInbox_LimitsBytesOfKeptMails(t *testing.T) {
	t.Parallel()
	const large = 300 << 10
	inbox := start(t, devinbox.Config{KeepBytes: 1 << 20})
	text := strings.Repeat(strings.Repeat("a", 75)+"\n", large/76)
	for n := range 6 {
		send(t, inbox, mail.Message{ID: fmt.Sprint(n), To: "kim@example.com", Subject: "s", Text: text})
	}
	kept, bytes := inbox.Messages(), 0
	for _, m := range kept {
		bytes += len(m.Raw)
	}
	require.LessOrEqual(t, bytes, 1<<20)
	require.Len(t, kept, 3)
	require.EqualValues(t, 6, kept[2].Seq, "the oldest went")

	small := start(t, devinbox.Config{KeepBytes: 1})
	for range 2 {
		send(t, small, mail.Message{ID: "1", To: "kim@example.com", Subject: "s", Text: "t"})
	}
	require.Len(t, small.Messages(), 1, "the newest is kept")
}

package mail_test

import (
	"bufio"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
	"millrace/platform/mail"
	"millrace/platform/mail/devinbox"
)

type bundle struct {
	inbox  *devinbox.Inbox
	sender *mail.Sender
}

func setup(t *testing.T) bundle {
	t.Helper()
	inbox, err := devinbox.Start(devinbox.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, inbox.Close()) })
	host, port := inbox.HostPort()
	return bundle{inbox, senderTo(t, host, port)}
}

func senderTo(t *testing.T, host string, port int) *mail.Sender {
	t.Helper()
	sender, err := mail.New(mail.Config{Host: host, Port: port, From: "밀레이스 <no-reply@millrace.example>"})
	require.NoError(t, err)
	return sender
}

func example() mail.Message {
	return mail.Message{
		ID: "0193-17", To: "kim@example.com", Subject: "결제가 완료되었습니다", Language: "ko",
		Text: "주문 goods-17\n15,000원", HTML: "<p>주문 <b>goods-17</b></p>",
	}
}

func TestSend_TransmitsMailUnchanged(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.sender.Send(t.Context(), example()))

	got := b.inbox.Messages()
	require.Len(t, got, 1)
	require.Equal(t, "결제가 완료되었습니다", got[0].Subject)
	require.Equal(t, []string{"kim@example.com"}, got[0].To)
	require.Equal(t, "no-reply@millrace.example", got[0].From)
	require.Equal(t, "0193-17@millrace.example", got[0].MessageID)
	require.Equal(t, b.sender.MessageID("0193-17"), got[0].MessageID)
	text, html := got[0].Bodies()
	require.Equal(t, "주문 goods-17\n15,000원", strings.ReplaceAll(strings.TrimSpace(text), "\r\n", "\n"))
	require.Contains(t, html, "<b>goods-17</b>")
	require.Contains(t, string(got[0].Raw), "Auto-Submitted: auto-generated")
}

func TestSend_RepeatedMailHasSameMessageID(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.sender.Send(t.Context(), example()))
	require.NoError(t, b.sender.Send(t.Context(), example()))
	got := b.inbox.Messages()
	require.Len(t, got, 2)
	require.Equal(t, got[0].MessageID, got[1].MessageID)
}

func TestSend_ErrorKindShowsWhetherRetryHelps(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault devinbox.Fault
		kind  errs.Kind
	}{
		"NoSuchMailbox":         {devinbox.RefuseRecipient, errs.Invalid},
		"ContentRefused":        {devinbox.RefuseContent, errs.Invalid},
		"TryAgainLater":         {devinbox.PutOff, errs.Resource},
		"AcceptedWithoutAnswer": {devinbox.BreakAccepted, errs.Resource},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.inbox.Misbehave(func(string) devinbox.Fault { return c.fault })
			err := b.sender.Send(t.Context(), example())
			require.Error(t, err)
			require.Equal(t, c.kind, errs.KindOf(err), "%v", err)

			b.inbox.Misbehave(nil)
			require.NoError(t, b.sender.Send(t.Context(), example()))
		})
	}
}

func TestSend_ErrorDoesNotContainAddress(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, fault := range []devinbox.Fault{devinbox.RefuseRecipient, devinbox.RefuseContent, devinbox.PutOff, devinbox.BreakAccepted} {
		b.inbox.Misbehave(func(string) devinbox.Fault { return fault })
		require.NotContains(t, b.sender.Send(t.Context(), example()).Error(), "kim")
	}
	malformed := example()
	malformed.To = "kim example.com"
	err := b.sender.Send(t.Context(), malformed)
	require.Equal(t, errs.Invalid, errs.KindOf(err))
	require.NotContains(t, err.Error(), "kim")
}

func TestSend_UnreachableServerIsResource(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.inbox.Close())
	require.Equal(t, errs.Resource, errs.KindOf(b.sender.Send(t.Context(), example())))
}

func TestSend_ContextEndsHangingSession(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hanging := make(chan struct{}, 1)
	b.inbox.Misbehave(func(string) devinbox.Fault { hanging <- struct{}{}; return devinbox.Hang })
	ctx, cancel := context.WithCancel(t.Context())
	answer := make(chan error, 1)
	go func() { answer <- b.sender.Send(ctx, example()) }()
	<-hanging
	cancel()
	select {
	case err := <-answer:
		require.Equal(t, errs.Resource, errs.KindOf(err))
	case <-time.After(time.Minute):
		t.Fatal("Send outlived its context")
	}
	require.Empty(t, b.inbox.Messages())
}

// scripted starts a server that gives the listed answer to each line, and
// closes the connection if there is none. It returns the port.
func scripted(t *testing.T, greeting string, answers map[string]string) int {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return // the test ended
		}
		defer func() { _ = conn.Close() }()
		_, _ = conn.Write([]byte(greeting + "\r\n"))
		lines := bufio.NewScanner(conn)
		for content := false; lines.Scan(); {
			word, _, _ := strings.Cut(lines.Text(), " ")
			if content && word != "." {
				continue
			}
			content = word == "DATA"
			answer, known := answers[word]
			if !known {
				return
			}
			_, _ = conn.Write([]byte(answer + "\r\n"))
		}
	}()
	addr, ok := listener.Addr().(*net.TCPAddr)
	require.True(t, ok)
	return addr.Port
}

func TestSend_DisconnectAfterAcceptanceIsSuccess(t *testing.T) {
	t.Parallel()
	port := scripted(t, "220 ready", map[string]string{
		"EHLO": "250 here", "MAIL": "250 ok", "RCPT": "250 ok", "DATA": "354 go", ".": "250 accepted",
	}) // closes the connection at QUIT
	require.NoError(t, senderTo(t, "127.0.0.1", port).Send(t.Context(), example()))
}

func TestSend_RefusalAtGreetingConcernsNoSingleMail(t *testing.T) {
	t.Parallel()
	for name, port := range map[string]int{
		"Greeting":       scripted(t, "554 not you", nil),
		"SignIn":         scripted(t, "220 ready", map[string]string{"EHLO": "250 here", "MAIL": "530 5.7.0 sign in first", "RSET": "250 ok"}),
		"NotSMTP":        scripted(t, "hello", nil),
		"NoAnswerToEHLO": scripted(t, "220 ready", nil),
	} {
		err := senderTo(t, "127.0.0.1", port).Send(t.Context(), example())
		require.Equal(t, errs.Resource, errs.KindOf(err), "%s: %v", name, err)
	}
}

func TestSend_MandatoryTLSRequiresEncryption(t *testing.T) {
	t.Parallel()
	b := setup(t) // does not offer STARTTLS
	host, port := b.inbox.HostPort()
	sender, err := mail.New(mail.Config{Host: host, Port: port, From: "a@example.com", TLS: mail.TLSMandatory})
	require.NoError(t, err)
	require.Equal(t, errs.Resource, errs.KindOf(sender.Send(t.Context(), example())))
	require.Empty(t, b.inbox.Messages())
}

func TestSend_NeverSendsPasswordUnencrypted(t *testing.T) {
	t.Parallel()
	port := scripted(t, "220 ready", map[string]string{"EHLO": "250-here\r\n250 AUTH PLAIN LOGIN"})
	sender, err := mail.New(mail.Config{Host: "127.0.0.1", Port: port, From: "a@example.com", User: "u", Password: "canary"})
	require.NoError(t, err)
	err = sender.Send(t.Context(), example())
	require.Equal(t, errs.Resource, errs.KindOf(err))
	require.NotContains(t, err.Error(), "canary")
}

func TestConfigValidate_NamesEveryInvalidField(t *testing.T) {
	t.Parallel()
	_, err := mail.New(mail.Config{Port: 70000, From: "nobody", User: "u", TLS: "perhaps", Timeout: -1})
	for _, field := range []string{"host", "port", "from", "user", "tls", "timeout"} {
		require.ErrorContains(t, err, field+": ")
	}
}

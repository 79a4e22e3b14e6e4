package mail_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
	"millrace/platform/mail"
)

func meaningOf(t *testing.T, err error) mail.Meaning {
	t.Helper()
	var failed *mail.Error
	require.ErrorAs(t, err, &failed)
	require.Equal(t, failed.Meaning == mail.Account || failed.Meaning == mail.Unreachable, failed.Fix != "", "every mail waits: %v", err)
	require.Equal(t, failed.Meaning == mail.Final, errs.KindOf(err) == errs.Invalid, "%v", err)
	require.NotContains(t, err.Error(), "kim", "an error names no address")
	return failed.Meaning
}

func TestSend_MapsServerAnswersToMeanings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		at, answer string
		want       mail.Meaning
	}{
		// Before a mail is named.
		{greetingLine, "554 5.7.1 your address is blocked", mail.Account},
		{greetingLine, "554 no SMTP service here", mail.Account},
		{greetingLine, "421 4.3.2 too busy", mail.Unreachable},
		{greetingLine, "421 4.7.0 try again later, your IP sends too much", mail.Account},
		{greetingLine, "450 wait", mail.Unreachable},
		{greetingLine, "HTTP/1.1 400 Bad Request", mail.Unreachable},
		{greetingLine, "", mail.Unreachable},
		{"EHLO", "550 5.7.1 go away", mail.Account},
		{"EHLO", "421 4.3.2 shutting down", mail.Unreachable},
		{"EHLO", "", mail.Unreachable},

		// At MAIL: always about the sender, never about one mail.
		{"MAIL", "550 5.4.5 Daily user sending limit exceeded", mail.Account},
		{"MAIL", "550 5.7.1 not authorized to send as this sender", mail.Account},
		{"MAIL", "552 5.2.2 quota exceeded", mail.Account},
		{"MAIL", "554 5.7.0 too many unauthenticated commands", mail.Account},
		{"MAIL", "553 5.1.8 sender's domain does not exist", mail.Account},
		{"MAIL", "550 sender rejected", mail.Account},
		{"MAIL", "501 5.1.7 bad sender's address", mail.Account},
		{"MAIL", "530 5.7.0 Must issue a STARTTLS command first", mail.Account},
		{"MAIL", "538 5.7.11 encryption required", mail.Account},
		{"MAIL", "450 4.2.1 Peak SMTP relay limit exceeded for customer", mail.Account},
		{"MAIL", "451 4.7.1 slow down", mail.Account},
		{"MAIL", "452 4.5.3 too many", mail.Account},
		{"MAIL", "454 4.7.0 temporary authentication failure", mail.Account},
		{"MAIL", "451 4.3.0 local error", mail.Unreachable},
		{"MAIL", "452 4.3.1 insufficient system storage", mail.Unreachable},
		{"MAIL", "421 4.7.0 closing", mail.Account},
		{"MAIL", "421 closing", mail.Unreachable},
		{"MAIL", "552 5.3.4 message size exceeds fixed limit", mail.Final},
		{"MAIL", "", mail.Unreachable},

		// About the recipient.
		{"RCPT", "550 5.1.1 <kim@example.com> user unknown", mail.Final},
		{"RCPT", "550 no such user kim@example.com", mail.Final},
		{"RCPT", "550 5.2.1 the account is disabled", mail.Final},
		{"RCPT", "550 5.7.1 the recipient takes mail from members only", mail.Final},
		{"RCPT", "552 5.2.2 mailbox of kim@example.com is over quota: storage limit exceeded", mail.Final},
		{"RCPT", "553 5.1.3 bad address", mail.Final},
		{"RCPT", "501 5.1.3 bad recipient address syntax", mail.Final},
		{"RCPT", "551 not here", mail.Final},
		{"RCPT", "554 5.7.0 no", mail.Final},
		{"RCPT", "450 4.7.1 greylisted, come back later", mail.Later},
		{"RCPT", "451 4.7.1 greylisting in action", mail.Later},
		{"RCPT", "450 4.2.0 greylisted", mail.Later},
		{"RCPT", "450 4.2.1 the user you are trying to contact gets mail too quickly", mail.Later},
		{"RCPT", "452 4.2.2 mailbox full", mail.Later},
		{"RCPT", "451 4.3.0 try again later", mail.Later},
		{"RCPT", "451 temporary failure", mail.Later},
		{"RCPT", "450 4.2.1 Peak SMTP relay limit exceeded for customer", mail.Account},
		{"RCPT", "550 5.4.5 Daily sending quota exceeded", mail.Account},
		{"RCPT", "550 5.7.1 Daily SMTP relay limit exceeded for customer", mail.Account},
		{"RCPT", "550 5.7.1 relaying denied", mail.Account},
		{"RCPT", "454 4.7.1 <kim@example.com>: relay access denied", mail.Account},
		{"RCPT", "530 5.7.0 authentication required", mail.Account},
		{"RCPT", "452 4.5.3 too many recipients", mail.Account},
		{"RCPT", "451 4.7.500 server busy", mail.Account},
		{"RCPT", "451 4.7.1 rate limit exceeded", mail.Account},
		{"RCPT", "550 5.7.705 tenant has exceeded its threshold", mail.Account},
		{"RCPT", "554 5.7.1 service unavailable; client host [192.0.2.1] blocked using zen.spamhaus.org", mail.Account},
		{"RCPT", "550 5.7.1 [192.0.2.1] has been blocked by policy", mail.Account},
		{"RCPT", "452 4.3.1 insufficient system storage", mail.Unreachable},
		{"RCPT", "421 4.3.0 closing", mail.Unreachable},
		{"RCPT", "503 5.5.1 bad sequence", mail.Unreachable},
		{"RCPT", "", mail.Unreachable},

		// About the content.
		{"DATA", "554 5.5.1 no valid recipients", mail.Final},
		{"DATA", "421 4.7.0 rate of this address", mail.Account},
		{"DATA", "451 4.7.1 greylisted", mail.Later},
		{".", "552 5.3.4 message too big", mail.Final},
		{".", "552 message size exceeds the limit", mail.Final},
		{".", "554 5.7.1 looks like spam", mail.Final},
		{".", "550 5.6.0 bad content", mail.Final},
		{".", "450 4.7.1 greylisted", mail.Later},
		{".", "550 5.4.5 daily limit exceeded", mail.Account},
		{".", "550 rate limit exceeded", mail.Account},
		{".", "451 4.7.0 Rate-limit exceeded, try again in an hour", mail.Account},
		{".", "552 5.2.2 you have exceeded your sending quota", mail.Account},
		{".", "554 5.7.0 too many messages from this account", mail.Account},
		{".", "550 5.7.60 client does not have permissions to send as this sender", mail.Account},
		{".", "550-5.7.26 this mail has been blocked because the sender is unauthenticated\r\n550 5.7.26 see the help", mail.Account},
		{".", "452 4.3.1 out of storage", mail.Unreachable},
		// About the account, reported at the recipient or after the content, as
		// providers do.
		{"RCPT", "554 5.7.1 <unknown[192.0.2.1]>: Client host rejected: Access denied", mail.Account},
		{"RCPT", "504 5.5.2 <shop>: Helo command rejected: need fully-qualified hostname", mail.Account},
		{"RCPT", "550 5.7.1 <shop>: Helo command rejected: Host not found", mail.Account},
		{"RCPT", "550 Access denied - Invalid HELO name (See RFC2821 4.1.1.1)", mail.Account},
		{"RCPT", "450 4.7.1 Client host rejected: cannot find your hostname", mail.Account},
		{"RCPT", "450 4.7.1 <shop>: Helo command rejected: Host not found", mail.Account},
		{"RCPT", "451 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume", mail.Account},
		{"RCPT", "553 5.7.1 <no-reply@example.com>: Sender address rejected: not owned by user kim@example.com", mail.Account},
		{"RCPT", "550 5.7.1 <no-reply@example.com>: Sender address rejected: Access denied", mail.Account},
		{"RCPT", "550 SMTP AUTH is required for message submission on port 587", mail.Account},
		{"RCPT", "550 Unauthenticated senders not allowed", mail.Account},
		{"RCPT", "554 5.7.0 Too many unauthenticated commands", mail.Account},
		{"RCPT", "550 too many recipients this hour", mail.Account},
		{"RCPT", "550 5.7.1 Invalid credentials for relay [192.0.2.1]", mail.Account},
		{"RCPT", "553 Relaying disallowed as no-reply@example.com", mail.Account},
		{"RCPT", "550 Sender verify failed", mail.Account},
		{"RCPT", "450 4.1.8 <no-reply@example.com>: Sender address rejected: Domain not found", mail.Account},
		{"RCPT", "550 Domain example.com has exceeded the max emails per hour (100/100 (100%)) allowed. Message discarded.", mail.Account},
		{"RCPT", "550 5.4.6 Unusual sending activity detected. Please try after sometime", mail.Account},
		{"RCPT", "550 5.7.1 Sender hourly limit exceeded", mail.Account},
		{".", "550 Domain example.com has exceeded the max emails per hour (100/100 (100%)) allowed. Message discarded.", mail.Account},
		{".", "550 5.4.6 Unusual sending activity detected. Please try after sometime", mail.Account},
		{".", "550 5.7.1 Sender hourly limit exceeded", mail.Account},
		{".", "554 5.2.252 SendAsDenied; no-reply@example.com not allowed to send as shop@example.com", mail.Account},
		{".", "554 5.2.0 STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied; Failed to process message", mail.Account},
		{".", "550 5.2.2 Submission quota exceeded: the sender's submission quota was exceeded", mail.Account},
		{".", "554 Message rejected: Email address is not verified. The following identities failed the check in region US-EAST-1: no-reply@example.com", mail.Account},
		{".", "554 Message rejected: Sending paused for this account. For more information, please check the inbox of the email address", mail.Account},
		{".", "554 Access denied: User `arn:aws:iam::1:user/x' is not authorized to perform `ses:SendRawEmail' on resource", mail.Account},
		{".", "454 Throttling failure: Maximum sending rate exceeded.", mail.Account},
		{".", "550 The from address does not match a verified Sender Identity. Mail cannot be sent until this error is resolved.", mail.Account},
		{".", "550 Maximum credits exceeded", mail.Account},
		{".", "451 Authentication failed: Maximum credits exceeded", mail.Account},
		{".", "451 Maximum credits exceeded", mail.Account},
		{".", "554 5.7.0 Your message could not be sent. The limit on the number of allowed outgoing messages was exceeded. Try again later.", mail.Account},
		{".", "550 5.7.1 Account disabled", mail.Account},
		{".", "550 Your account is suspended", mail.Account},
		{".", "550 5.7.1 Domain example.com is not allowed to send: the domain is unverified", mail.Account},
		{".", "550 Sandbox subdomains are for test purposes only. Please add your own domain or add the address to authorized recipients", mail.Account},
		{".", "554 Sender signature not found", mail.Account},
		{".", "550 발송 한도를 초과하였습니다", mail.Account},
		{".", "550 계정이 정지되었습니다", mail.Account},
		{".", "421 Domain example.com is not allowed to send: limit", mail.Account},

		// About one recipient, although the text mentions a limit or a sender.
		{"RCPT", "450 4.2.1 The user you are trying to contact is receiving mail too quickly, rate limit", mail.Later},
		{"RCPT", "450 4.2.1 The user you are trying to contact is receiving mail at a rate that prevents additional messages from being delivered", mail.Later},
		{"RCPT", "452 4.2.2 The recipient's inbox is out of storage space", mail.Later},
		{"RCPT", "450 4.7.1 <kim@example.com>: Recipient address rejected: Greylisted", mail.Later},
		{"RCPT", "450 수신자 메일함의 하루 수신 한도를 초과하였습니다", mail.Later},
		{"RCPT", "550 5.7.1 user mailbox quota exceeded, per day limit", mail.Final},
		{"RCPT", "550 5.2.1 The user you are trying to contact is receiving mail at a rate that prevents additional messages from being delivered", mail.Final},
		{"RCPT", "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required; the sender was not authenticated when sending to this group", mail.Final},
		{"RCPT", "550 5.7.1 you are not allowed to send to this recipient", mail.Final},
		{"RCPT", "550 5.7.1 Sender is blocked by the recipient", mail.Final},
		{"RCPT", "550 5.4.1 Recipient address rejected: Access denied", mail.Final},
		{"RCPT", "554 5.7.1 <helo@example.com>: Recipient address rejected: Access denied", mail.Final},
		{"RCPT", "550 5.1.1 <kim@example.com>: Recipient address rejected: User unknown in virtual mailbox table", mail.Final},
		{"RCPT", "552 5.2.3 message length exceeds administrative limit", mail.Final},
		{"RCPT", "550 mailbox is full: retry timeout exceeded", mail.Final},
		{"RCPT", "550 You tried to send to a recipient that has been marked as inactive.", mail.Final},

		{".", "", mail.Later}, // perhaps accepted, so retries use up attempts
	} {
		t.Run(c.at+" "+c.answer, func(t *testing.T) {
			t.Parallel()
			err := serve(t, except(c.at, c.answer)).sender(t, "shop@example.com").Send(t.Context(), example())
			require.Equal(t, c.want, meaningOf(t, err), "%v", err)
		})
	}
}

func TestSend_FailedSignInMeansAccount(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{"535 5.7.8 bad credentials", "454 4.7.0 too many logins", "534 5.7.9 application password required", "550 5.7.1 no"} {
		s := serve(t, except("AUTH", answer, "250-AUTH CRAM-MD5"))
		sender, err := mail.New(mail.Config{Host: "127.0.0.1", Port: s.port, From: "shop@example.com", User: "shop", Password: "canary"})
		require.NoError(t, err)
		err = sender.Send(t.Context(), example())
		require.Equal(t, mail.Account, meaningOf(t, err), answer)
		require.NotContains(t, err.Error(), "canary")
		require.Empty(t, s.sent("MAIL"))
	}
	s := serve(t, working())
	sender, err := mail.New(mail.Config{Host: "127.0.0.1", Port: s.port, From: "shop@example.com", User: "shop", Password: "canary"})
	require.NoError(t, err)
	require.Equal(t, mail.Account, meaningOf(t, sender.Send(t.Context(), example())), "no sign-in is offered")
	s = serve(t, except("AUTH", "", "250-AUTH CRAM-MD5"))
	sender, err = mail.New(mail.Config{Host: "127.0.0.1", Port: s.port, From: "shop@example.com", User: "shop", Password: "canary"})
	require.NoError(t, err)
	require.Equal(t, mail.Unreachable, meaningOf(t, sender.Send(t.Context(), example())), "the connection broke")
}

func TestSend_ServerDownMeansUnreachable(t *testing.T) {
	t.Parallel()
	s := serve(t, working())
	for name, cfg := range map[string]mail.Config{
		"ConnectionRefused":  {Host: "127.0.0.1", Port: 1, From: "shop@example.com"},
		"UnknownHost":        {Host: "mail.invalid", Port: 587, From: "shop@example.com"},
		"NoSTARTTLS":         {Host: "127.0.0.1", Port: s.port, From: "shop@example.com", TLS: mail.TLSMandatory},
		"NoTLSAfterSTARTTLS": {Host: "127.0.0.1", Port: serve(t, except("STARTTLS", "220 go", "250-STARTTLS")).port, From: "shop@example.com", TLS: mail.TLSMandatory},
		"STARTTLSRefused":    {Host: "127.0.0.1", Port: serve(t, except("STARTTLS", "454 4.7.0 not now", "250-STARTTLS")).port, From: "shop@example.com", TLS: mail.TLSMandatory},
	} {
		sender, err := mail.New(cfg)
		require.NoError(t, err)
		means := meaningOf(t, sender.Send(t.Context(), example()))
		require.True(t, means == mail.Unreachable || means == mail.Account, name)
	}
}

func TestSend_HangingServerMeansUnreachableUntilContentIsSent(t *testing.T) {
	t.Parallel()
	for at, want := range map[string]mail.Meaning{
		greetingLine: mail.Unreachable, "EHLO": mail.Unreachable, "MAIL": mail.Unreachable, "RCPT": mail.Unreachable, "DATA": mail.Unreachable, ".": mail.Later,
	} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			ended := make(chan struct{})
			s := serve(t, func(line string) string {
				if strings.HasPrefix(line, at) {
					<-ended
				}
				return working()(line)
			})
			t.Cleanup(func() { close(ended) })
			sender, err := mail.New(mail.Config{Host: "127.0.0.1", Port: s.port, From: "shop@example.com", Timeout: 200 * time.Millisecond})
			require.NoError(t, err)
			err = sender.Send(t.Context(), example())
			require.Equal(t, want, meaningOf(t, err), "%v", err)
			require.ErrorContains(t, err, "in time")
		})
	}
}

func TestSend_TransmitsAcceptedAddressesUnchanged(t *testing.T) {
	t.Parallel()
	for text, want := range accepted {
		s := serve(t, working())
		m := example()
		m.To = text
		require.NoError(t, s.sender(t, "shop@example.com").Send(t.Context(), m), "%q", text)
		require.Equal(t, "RCPT TO:<"+want+">", s.sent("RCPT"))
		inbox := setup(t) // a server that parses the grammar
		require.NoError(t, inbox.sender.Send(t.Context(), m), "%q", text)
		require.Equal(t, []string{want}, inbox.inbox.Messages()[0].To)
	}
	for text := range refused {
		m := example()
		m.To = text
		s := serve(t, working())
		require.Equal(t, mail.Final, meaningOf(t, s.sender(t, "shop@example.com").Send(t.Context(), m)), "%q", text)
		require.Zero(t, s.conns, "no connection was made")
	}
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > 0x7f })
}

func TestSend_NeverRequestsSMTPUTF8(t *testing.T) {
	t.Parallel()
	s := serve(t, working("250-8BITMIME\r\n250-SMTPUTF8"))
	m := example() // with a Korean subject
	m.To = "kim@bücher.example"
	require.NoError(t, s.sender(t, "밀레이스 <no-reply@밀레이스.example>").Send(t.Context(), m))
	require.Equal(t, "MAIL FROM:<no-reply@xn--om2bp6e05g1pf.example> BODY=8BITMIME", s.sent("MAIL"))
	require.Equal(t, "RCPT TO:<kim@xn--bcher-kva.example>", s.sent("RCPT"))

	inbox := setup(t)
	require.NoError(t, inbox.sender.Send(t.Context(), m))
	header, _, _ := strings.Cut(string(inbox.inbox.Messages()[0].Raw), "\r\n\r\n")
	require.True(t, ascii(header), "%s", header)
}

func TestSend_EHLOHasValidName(t *testing.T) {
	t.Parallel()
	for from, want := range map[string]string{
		"shop@example.com":                "EHLO example.com",
		"Shop <shop@EXAMPLE.com>":         "EHLO example.com",
		"가게 <shop@가게.example>":            "EHLO xn--o39akk.example",
		"shop@localhost":                  "EHLO [127.0.0.1]",
		"shop@intranet":                   "EHLO [127.0.0.1]",
		"shop@" + "xn--bcher-kva.example": "EHLO xn--bcher-kva.example",
	} {
		s := serve(t, working())
		require.NoError(t, s.sender(t, from).Send(t.Context(), example()), from)
		require.Equal(t, want, s.sent("EHLO"), from)
	}
}

func TestConfigValidate_ChecksSenderNameAndAddress(t *testing.T) {
	t.Parallel()
	for from, want := range map[string]string{
		"가게@example.com":                          "letters other than a-z",
		"shop@가_게.example":                        "has a _ after the at sign",
		"x@y_z.com":                               "has a _ after the at sign",
		"shop@my_host":                            "has a _ after the at sign",
		"shop@[192.0.2.1]":                        "has an IP address",
		"shop@192.0.2.1":                          "has an IP address",
		"\"a b\"@example.com":                     "", // the error is the one of the address rule
		"\"a..b\"@localhost":                      "",
		"shop@-a.example":                         "hyphen",
		"shop@example.c":                          "single letter",
		"Shop \u202Emoc <shop@example.com>":       "turns the direction of text",
		"=?utf-8?q?a=E2=80=AEb?= <s@example.com>": "turns the direction of text",
		"=?utf-8?q?a=0Ab?= <shop@example.com>":    "a line break",
		"\"Sh\u200Bop\" <shop@example.com>":       "cannot be seen",
	} {
		_, err := mail.New(mail.Config{Host: "127.0.0.1", Port: 25, From: from})
		require.ErrorContains(t, err, "from: ", from)
		require.ErrorContains(t, err, want, from)
		require.NotContains(t, err.Error(), "\u202E")
	}
}

func TestSend_UsesOneConnectionPerMail(t *testing.T) {
	t.Parallel()
	s := serve(t, working())
	sender := s.sender(t, "shop@example.com")
	for range 3 {
		require.NoError(t, sender.Send(t.Context(), example()), "also with a server that accepts one mail per connection")
	}
	require.Equal(t, 3, s.conns)
}

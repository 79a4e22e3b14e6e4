package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	gomail "github.com/wneessen/go-mail"

	"millrace/platform/errs"
)

// Message is one mail to one recipient.
type Message struct {
	ID       string // names the mail for ever; it becomes <ID@domain of the sender>
	To       string // one address
	Subject  string
	Text     string // plain text
	HTML     string // the same as HTML; "" for a mail of text alone
	Language string // BCP 47, for Content-Language; may be ""
}

// Sender sends mails. It keeps no connection and may be used concurrently.
type Sender struct{ cfg Config }

// New returns a Sender, or what is wrong with cfg. It does not connect.
func New(cfg Config) (*Sender, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	return &Sender{cfg: cfg}, nil
}

// MessageID returns the Message-ID, without angle brackets, that a Message
// with this ID gets.
func (s *Sender) MessageID(id string) string { return id + "@" + s.cfg.domain() }

// Send hands m to the server. The package comment says what an error means.
func (s *Sender) Send(ctx context.Context, m Message) error {
	msg, err := s.write(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()

	// go-mail knows a deadline only for the dial, and leaves the connection
	// open when the greeting fails: the connection is ours to close.
	var conn net.Conn
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		var err error
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return conn, err
	}
	client, err := s.client(dial)
	if err != nil {
		return errs.New(errs.Resource, "mail client: %w", err)
	}
	smtp, err := client.DialToSMTPClientWithContext(ctx)
	if conn != nil {
		defer func() { _ = conn.Close() }() // closed already, or of no more use
	}
	if err != nil {
		return away(ctx, "reach", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // ends whatever waits for the server
	defer stop()
	err = client.SendWithSMTPClient(smtp, msg)
	if msg.IsDelivered() {
		_ = smtp.Quit() // the mail is accepted; how the conversation ends does not matter
		return nil
	}
	return refused(ctx, err)
}

func (s *Sender) write(m Message) (*gomail.Msg, error) {
	msg := gomail.NewMsg()
	if err := msg.From(s.cfg.From); err != nil {
		return nil, errs.New(errs.Invalid, "the sender's address is malformed")
	}
	if err := msg.To(m.To); err != nil {
		return nil, errs.New(errs.Invalid, "the recipient's address is malformed")
	}
	if m.ID == "" {
		return nil, errs.New(errs.Invalid, "the mail has no ID")
	}
	msg.SetMessageIDWithValue(s.MessageID(m.ID))
	msg.SetDate()
	msg.Subject(m.Subject)
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // so that an absence notice is not sent back
	if m.Language != "" {
		msg.SetGenHeader("Content-Language", m.Language)
	}
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	if m.HTML != "" {
		msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	}
	return msg, nil
}

func (s *Sender) client(dial gomail.DialContextFunc) (*gomail.Client, error) {
	options := []gomail.Option{
		gomail.WithTimeout(s.cfg.Timeout), gomail.WithHELO(s.cfg.domain()), gomail.WithoutNoop(), gomail.WithoutRset(),
		gomail.WithPort(s.cfg.Port), gomail.WithUsername(s.cfg.User), gomail.WithPassword(s.cfg.Password),
	}
	auth := gomail.SMTPAuthAutoDiscover // never a mechanism that shows the password on a plain connection
	switch {
	case !s.cfg.encrypted():
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
	case s.cfg.Port == implicitTLS:
		// go-mail does not see that a connection of ours is encrypted, and
		// would discover no mechanism; PLAIN looks for itself.
		auth = gomail.SMTPAuthPlain
		options = append(options, gomail.WithSSL())
		dial = overTLS(s.cfg.Host, dial)
	default:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	}
	if s.cfg.User != "" {
		options = append(options, gomail.WithSMTPAuth(auth))
	}
	options = append(options, gomail.WithDialContextFunc(dial))
	return gomail.NewClient(s.cfg.Host, options...)
}

// overTLS makes connections on which TLS comes first.
func overTLS(host string, dial gomail.DialContextFunc) gomail.DialContextFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		encrypted := tls.Client(conn, &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12})
		if err := encrypted.HandshakeContext(ctx); err != nil {
			_ = conn.Close() // the handshake's error is the one to tell
			return nil, err
		}
		return encrypted, nil
	}
}

// away is an error before the server heard of the mail. Whatever it is, the
// mail is not at fault.
func away(ctx context.Context, step string, err error) error {
	if ctx.Err() != nil {
		return errs.New(errs.Resource, "the mail server did not answer in time (%s)", step)
	}
	var network net.Error
	if errors.As(err, &network) {
		return errs.New(errs.Resource, "the mail server cannot be reached: %w", err)
	}
	return errs.New(errs.Resource, "the mail server refused the conversation (%s)", codeOf(err))
}

// refused classifies what the server said to the mail itself.
func refused(ctx context.Context, err error) error {
	var failed *gomail.SendError
	if !errors.As(err, &failed) || failed.ErrorCode() == 0 {
		return away(ctx, "send", err)
	}
	step := map[gomail.SendErrReason]string{
		gomail.ErrSMTPMailFrom: "the sender", gomail.ErrSMTPRcptTo: "the recipient",
		gomail.ErrSMTPData: "the content", gomail.ErrSMTPDataClose: "the content",
	}[failed.Reason]
	code := failed.ErrorCode()
	const authenticationRequired = 530 // a 5xx that says more of our configuration than of the mail
	if step == "" || code < 500 || code == authenticationRequired {
		return errs.New(errs.Resource, "the mail server put off the mail (%s)", codeOf(err))
	}
	return errs.New(errs.Invalid, "the mail server refused %s (%s)", step, codeOf(err))
}

// codeOf is the server's code and no word of its text.
func codeOf(err error) string {
	var failed *gomail.SendError
	if errors.As(err, &failed) && failed.ErrorCode() != 0 {
		if enhanced := failed.EnhancedStatusCode(); enhanced != "" {
			return fmt.Sprintf("%d %s", failed.ErrorCode(), enhanced)
		}
		return fmt.Sprintf("%d", failed.ErrorCode())
	}
	return "no code"
}

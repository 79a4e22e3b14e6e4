package mail

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	netmail "net/mail"
	"net/textproto"
	"strconv"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"
)

// Message is one mail to one recipient.
type Message struct {
	ID       string // identifies the mail permanently; the Message-ID is <ID@sender's domain>
	To       string // one address, see ParseAddress
	Subject  string
	Text     string // plain text
	HTML     string // the same content as HTML; "" for plain text only
	Language string // BCP 47, for Content-Language; may be ""
}

// Sender sends mails. It keeps no connection open and may be used concurrently.
type Sender struct {
	cfg  Config
	from identity
}

// New returns a Sender, or an error if cfg is invalid. It does not connect.
func New(cfg Config) (*Sender, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	from, err := cfg.identity()
	return &Sender{cfg: cfg, from: from}, err
}

// MessageID returns the Message-ID, without angle brackets, of a Message with
// this ID.
func (s *Sender) MessageID(id string) string { return id + "@" + s.from.domain }

// Send sends m to the server. Its errors are *Error; the package comment
// explains them.
func (s *Sender) Send(ctx context.Context, m Message) error {
	to, err := ParseAddress(m.To)
	if err != nil {
		return failure(Final, "", "the recipient's address %w", err)
	}
	text, err := s.write(m, to)
	if err != nil {
		return failure(Final, "", "the mail cannot be written: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	conn, err := s.dial(ctx)
	if err != nil {
		return broken(greeting, false, ctx.Err() == nil, err)
	}
	defer func() { _ = conn.Close() }()                         // already closed, or not needed any more
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // unblocks any wait for the server
	defer stop()
	c := &conversation{conn: conn}
	if err := s.converse(c, to, text); err != nil {
		var known *Error
		var answer *textproto.Error
		switch {
		case errors.As(err, &known):
			return known
		case errors.As(err, &answer):
			return refused(c.at, answer)
		}
		return broken(c.at, c.contentSent, ctx.Err() == nil, err)
	}
	_ = c.client.Quit() // the mail is accepted, so errors do not matter any more
	return nil
}

// conversation is the progress of one SMTP session.
type conversation struct {
	conn        net.Conn
	client      *smtp.Client
	at          step
	contentSent bool
}

// converse runs the steps for one mail; c records the step where it stopped.
func (s *Sender) converse(c *conversation, to Address, text []byte) (err error) {
	c.at = greeting
	if c.client, err = smtp.NewClient(c.conn, s.cfg.Host); err != nil {
		return err
	}
	c.at = hello
	if err := c.client.Hello(s.from.hello(c.conn)); err != nil {
		return err
	}
	if s.cfg.encrypted() && s.cfg.Port != implicitTLS {
		c.at = startTLS
		if offered, _ := c.client.Extension("STARTTLS"); !offered {
			return failure(Unreachable, "let the mail server offer STARTTLS, or set mail.smtp.port to 465 if it speaks TLS there from the start; mails go on by themselves", "the mail server offers no encryption (STARTTLS)")
		}
		if err := c.client.StartTLS(s.tls()); err != nil {
			return err
		}
	}
	if s.cfg.User != "" {
		c.at = signIn
		if err := s.signIn(c.client); err != nil {
			return err
		}
	}
	c.at = sender
	c.client.SkipSMTPUTF8(true) // not needed: the addresses are ASCII and the headers are encoded
	if err := c.client.Mail("<" + s.from.address + ">"); err != nil {
		return err
	}
	c.at = recipient
	if err := c.client.Rcpt("<" + to.String() + ">"); err != nil {
		return err
	}
	c.at = content
	writer, err := c.client.Data()
	if err != nil {
		return err
	}
	if _, err := writer.Write(text); err != nil {
		return err
	}
	c.contentSent = true // from here on: Close sends the end of the content
	return writer.Close()
}

// write renders the mail as text.
func (s *Sender) write(m Message, to Address) ([]byte, error) {
	msg := gomail.NewMsg()
	msg.SetAddrHeaderFromMailAddress(gomail.HeaderFrom, &netmail.Address{Name: s.from.name, Address: s.from.address})
	msg.SetAddrHeaderFromMailAddress(gomail.HeaderTo, &netmail.Address{Address: to.String()})
	if m.ID == "" {
		return nil, errors.New("it has no ID")
	}
	msg.SetMessageIDWithValue(s.MessageID(m.ID))
	msg.SetDate()
	msg.Subject(m.Subject)
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // prevents automatic replies
	if m.Language != "" {
		msg.SetGenHeader("Content-Language", m.Language)
	}
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	if m.HTML != "" {
		msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	}
	var text bytes.Buffer
	_, err := msg.WriteTo(&text)
	return text.Bytes(), err
}

// dial connects, and starts TLS at once on the port for implicit TLS.
func (s *Sender) dial(ctx context.Context) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(s.cfg.Host, strconv.Itoa(s.cfg.Port)))
	if err != nil || !s.cfg.encrypted() || s.cfg.Port != implicitTLS {
		return conn, err
	}
	encrypted := tls.Client(conn, s.tls())
	if err := encrypted.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // the handshake's error is returned
		return nil, err
	}
	return encrypted, nil
}

func (s *Sender) tls() *tls.Config {
	return &tls.Config{ServerName: s.cfg.Host, MinVersion: tls.VersionTLS12}
}

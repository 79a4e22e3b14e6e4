package devinbox

import (
	"io"

	"github.com/emersion/go-smtp"
)

// Fault is what the inbox does instead of accepting a mail.
type Fault int

// The faults.
const (
	None            Fault = iota
	RefuseRecipient       // 550 5.1.1 to RCPT: no such mailbox, permanent
	PutOff                // 451 4.3.0 to RCPT: try again later
	RefuseContent         // 554 5.7.1 after DATA: refused permanently
	Hang                  // no answer to RCPT until Misbehave is called again
	RefuseAccount         // 550 5.4.5 to RCPT: the sender's limit is reached
	BreakAccepted         // accepts the mail, then closes the connection without an answer
)

// Misbehave makes the inbox call f for each recipient to get a fault; nil turns
// faults off. Sessions that hang continue with the answer of a busy mailbox.
func (i *Inbox) Misbehave(f func(recipient string) Fault) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.misbehave = f
	close(i.released)
	i.released = make(chan struct{})
}

func (i *Inbox) fault(recipient string) (Fault, <-chan struct{}) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.misbehave == nil {
		return None, i.released
	}
	return i.misbehave(recipient), i.released
}

var (
	errNoMailbox = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such mailbox"}
	errBusy      = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "try again later"}
	errLimit     = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 4, 5}, Message: "daily sending quota exceeded"}
	errContent   = &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "content refused"}
)

// session is one SMTP session.
type session struct {
	inbox *Inbox
	conn  *smtp.Conn
	from  string
	to    []string
	fault Fault
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.from = from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	fault, released := s.inbox.fault(to)
	switch fault {
	case RefuseRecipient:
		return errNoMailbox
	case PutOff:
		return errBusy
	case RefuseAccount:
		return errLimit
	case Hang:
		select {
		case <-released:
		case <-s.inbox.closed:
		}
		return errBusy
	case None, RefuseContent, BreakAccepted:
	}
	s.to = append(s.to, to)
	s.fault = max(s.fault, fault)
	return nil
}

func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if s.fault == RefuseContent {
		return errContent
	}
	s.inbox.accept(s.from, s.to, raw)
	if s.fault == BreakAccepted {
		return s.conn.Conn().Close()
	}
	return nil
}

func (s *session) Reset()        { s.from, s.to, s.fault = "", nil, None }
func (s *session) Logout() error { return nil }

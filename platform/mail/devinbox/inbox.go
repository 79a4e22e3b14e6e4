package devinbox

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"millrace/platform/errs"
)

// Config says where to listen and how much to keep.
type Config struct {
	Addr string // host:port on loopback; ":2525" is loopback too; "" is ":0", any free port
	Keep int    // how many mails are kept, the oldest go first; 0 means 20,000
}

const (
	defaultKeep     = 20_000
	maxMessageBytes = 1 << 20
	idle            = time.Minute // a client that says nothing for so long is dropped
)

// Message is a mail as it was accepted.
type Message struct {
	Seq        int64     `json:"seq"` // 1 for the first ever accepted, without gaps
	ReceivedAt time.Time `json:"receivedAt"`
	MessageID  string    `json:"messageId"` // without angle brackets; "" if the mail had none
	From       string    `json:"from"`      // of the envelope
	To         []string  `json:"to"`        // of the envelope
	Subject    string    `json:"subject"`   // decoded
	Raw        []byte    `json:"-"`         // header and body, as sent
}

// Inbox is a running server.
type Inbox struct {
	listener net.Listener
	server   *smtp.Server
	keep     int
	closed   chan struct{}

	mu        sync.Mutex
	messages  []Message
	total     int64
	changed   chan struct{} // closed and replaced when a mail arrives
	misbehave func(recipient string) Fault
	forgiven  chan struct{} // closed and replaced by Misbehave: ends what hangs
}

// Start listens and serves until Close.
func Start(cfg Config) (*Inbox, error) {
	if cfg.Addr == "" || strings.HasPrefix(cfg.Addr, ":") {
		cfg.Addr = "127.0.0.1" + cmp.Or(cfg.Addr, ":0")
	}
	if host, _, err := net.SplitHostPort(cfg.Addr); err != nil || !loopback(host) {
		return nil, errs.InvalidField("addr", "%q is not a host and a port on loopback; everybody who reaches the inbox can read every mail", cfg.Addr)
	}
	if cfg.Keep <= 0 {
		cfg.Keep = defaultKeep
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("mail inbox: %w", err)
	}
	i := &Inbox{
		listener: listener, keep: cfg.Keep, closed: make(chan struct{}),
		changed: make(chan struct{}), forgiven: make(chan struct{}),
	}
	i.server = smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return &session{inbox: i, conn: c}, nil }))
	i.server.Domain = "devinbox.localhost"
	i.server.MaxMessageBytes = maxMessageBytes
	i.server.MaxRecipients = 50
	i.server.ReadTimeout, i.server.WriteTimeout = idle, idle
	i.server.EnableSMTPUTF8 = true
	i.server.ErrorLog = log.New(io.Discard, "", 0) // a client that is killed is nothing to report
	go func() { _ = i.server.Serve(listener) }()   // ends with Close; there is nobody to tell
	return i, nil
}

// Addr is where the inbox listens, as "127.0.0.1:41234".
func (i *Inbox) Addr() string { return i.listener.Addr().String() }

// HostPort is Addr in the two parts that a sender's configuration wants.
func (i *Inbox) HostPort() (host string, port int) {
	addr, ok := i.listener.Addr().(*net.TCPAddr)
	if !ok {
		return "", 0 // a listener on "tcp" has no other
	}
	return addr.IP.String(), addr.Port
}

// Close ends the server and every conversation. What was received stays readable.
func (i *Inbox) Close() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	select {
	case <-i.closed:
		return nil
	default:
		close(i.closed)
		err := i.server.Close()
		_ = i.listener.Close() // the server closes it only once Serve has begun
		return err
	}
}

// Messages returns the mails that are kept, oldest first.
func (i *Inbox) Messages() []Message {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.messages)
}

// Total is how many mails were ever accepted, kept or not.
func (i *Inbox) Total() int64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.total
}

// Wait returns nil once the mails that are kept are enough, or ctx's error.
func (i *Inbox) Wait(ctx context.Context, enough func([]Message) bool) error {
	for {
		i.mu.Lock()
		kept, changed := slices.Clone(i.messages), i.changed
		i.mu.Unlock()
		if enough(kept) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d mails are kept: %w", len(kept), ctx.Err())
		}
	}
}

// find returns the mail with the number seq.
func (i *Inbox) find(seq int64) (Message, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	at, found := slices.BinarySearchFunc(i.messages, seq, func(m Message, seq int64) int { return cmp.Compare(m.Seq, seq) })
	if !found {
		return Message{}, false
	}
	return i.messages[at], true
}

func (i *Inbox) accept(from string, to []string, raw []byte) {
	m := Message{From: from, To: to, Raw: raw, ReceivedAt: time.Now().UTC()}
	m.MessageID, m.Subject = headersOf(raw)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.total++
	m.Seq = i.total
	i.messages = append(i.messages, m)
	if over := len(i.messages) - i.keep; over > 0 {
		i.messages = slices.Delete(i.messages, 0, over)
	}
	close(i.changed)
	i.changed = make(chan struct{})
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

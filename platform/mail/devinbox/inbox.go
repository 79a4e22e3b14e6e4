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
	"millrace/platform/loopback"
)

// Config configures where to listen and how much to keep.
type Config struct {
	Addr string // host:port on loopback; ":2525" is loopback too; "" is ":0", any free port
	Keep int    // maximum number of mails kept, the newest; 0 means 20,000
	// KeepBytes is the maximum size of the mails kept, the newest; 0 means 64
	// MiB. The newest mail is always kept; its size is at most 1 MiB.
	KeepBytes int
}

const (
	defaultKeep     = 20_000
	defaultBytes    = 64 << 20
	maxMessageBytes = 1 << 20
	idle            = time.Minute // a client that sends nothing for this long is disconnected
)

// Message is an accepted mail.
type Message struct {
	Seq        int64     `json:"seq"` // 1 for the first mail ever accepted, without gaps
	ReceivedAt time.Time `json:"receivedAt"`
	MessageID  string    `json:"messageId"` // without angle brackets; "" if the mail has none
	From       string    `json:"from"`      // from the envelope
	To         []string  `json:"to"`        // from the envelope
	Subject    string    `json:"subject"`   // decoded
	Raw        []byte    `json:"-"`         // header and body, as sent
}

// Inbox is a running server.
type Inbox struct {
	listener net.Listener
	server   *smtp.Server
	keep     int // maximum number of mails
	room     int // maximum bytes of mails
	closed   chan struct{}

	mu        sync.Mutex
	messages  []Message
	bytes     int // of messages
	total     int64
	changed   chan struct{} // closed and replaced when a mail arrives
	misbehave func(recipient string) Fault
	released  chan struct{} // closed and replaced by Misbehave: releases sessions that hang
}

// Start starts a server that runs until Close.
func Start(cfg Config) (*Inbox, error) {
	if cfg.Addr == "" || strings.HasPrefix(cfg.Addr, ":") {
		cfg.Addr = "127.0.0.1" + cmp.Or(cfg.Addr, ":0")
	}
	if host, _, err := net.SplitHostPort(cfg.Addr); err != nil || !loopback.Host(host) {
		return nil, errs.InvalidField("addr", "%q is not a host and a port on loopback; everybody who reaches the inbox can read every mail", cfg.Addr)
	}
	if cfg.Keep <= 0 {
		cfg.Keep = defaultKeep
	}
	if cfg.KeepBytes <= 0 {
		cfg.KeepBytes = defaultBytes
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("mail inbox: %w", err)
	}
	i := &Inbox{
		listener: listener, keep: cfg.Keep, room: cfg.KeepBytes, closed: make(chan struct{}),
		changed: make(chan struct{}), released: make(chan struct{}),
	}
	i.server = smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return &session{inbox: i, conn: c}, nil }))
	i.server.Domain = "devinbox.localhost"
	i.server.MaxMessageBytes = maxMessageBytes
	i.server.MaxRecipients = 50
	i.server.ReadTimeout, i.server.WriteTimeout = idle, idle
	i.server.EnableSMTPUTF8 = true
	i.server.ErrorLog = log.New(io.Discard, "", 0) // a killed client is not worth a log line
	go func() { _ = i.server.Serve(listener) }()   // ends with Close
	return i, nil
}

// Addr returns the inbox's address, such as "127.0.0.1:41234".
func (i *Inbox) Addr() string { return i.listener.Addr().String() }

// HostPort returns Addr as the host and port of a sender's configuration.
func (i *Inbox) HostPort() (host string, port int) {
	addr, ok := i.listener.Addr().(*net.TCPAddr)
	if !ok {
		return "", 0 // impossible for a listener on "tcp"
	}
	return addr.IP.String(), addr.Port
}

// Close stops the server and closes every session. Received mails can still be
// read.
func (i *Inbox) Close() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	select {
	case <-i.closed:
		return nil
	default:
		close(i.closed)
		err := i.server.Close()
		_ = i.listener.Close() // before Serve, server.Close does not close the listener
		return err
	}
}

// Messages returns the kept mails, oldest first.
func (i *Inbox) Messages() []Message {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.messages)
}

// Total returns how many mails were ever accepted, kept or not.
func (i *Inbox) Total() int64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.total
}

// Wait returns nil once enough returns true for the kept mails, or ctx's error.
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
	i.bytes += m.size()
	over := 0
	for len(i.messages)-over > i.keep || i.bytes > i.room && over < len(i.messages)-1 {
		i.bytes -= i.messages[over].size()
		over++
	}
	i.messages = slices.Delete(i.messages, 0, over)
	close(i.changed)
	i.changed = make(chan struct{})
}

// size returns the memory that the mail uses in bytes, without the fixed part
// of every mail.
func (m Message) size() int {
	n := len(m.Raw) + len(m.MessageID) + len(m.From) + len(m.Subject)
	for _, to := range m.To {
		n += len(to)
	}
	return n
}

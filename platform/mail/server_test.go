package mail_test

import (
	"bufio"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/mail"
)

// server is an SMTP server on a real socket whose answers a test defines.
type server struct {
	port   int
	answer func(line string) string // "" closes the connection

	mu    sync.Mutex
	lines []string // what clients sent, without the contents of mails
	conns int
}

// greetingLine is passed to answer when a client connects; "." stands for the
// end of a mail's content.
const greetingLine = "(connected)"

// working returns an answer function that accepts everything.
func working(extensions ...string) func(line string) string {
	return func(line string) string {
		switch verb, _, _ := strings.Cut(line, " "); verb {
		case greetingLine:
			return "220 ready"
		case "EHLO":
			return "250-here\r\n" + strings.Join(append(extensions, ""), "\r\n") + "250 ENHANCEDSTATUSCODES"
		case "DATA":
			return "354 go"
		case "QUIT":
			return "221 bye"
		}
		return "250 ok"
	}
}

// except returns an answer function like working's, with another answer for
// lines that start with prefix.
func except(prefix, answer string, extensions ...string) func(line string) string {
	return func(line string) string {
		if strings.HasPrefix(line, prefix) || prefix == "EHLO" && strings.HasPrefix(line, "HELO") {
			return answer
		}
		return working(extensions...)(line)
	}
}

func serve(t *testing.T, answer func(line string) string) *server {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address, ok := listener.Addr().(*net.TCPAddr)
	require.True(t, ok)
	s := &server{port: address.Port, answer: answer}
	var conversations sync.WaitGroup
	t.Cleanup(func() {
		_ = listener.Close()
		conversations.Wait()
	})
	conversations.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // the test ended
			}
			conversations.Go(func() { s.talk(conn) })
		}
	})
	return s
}

func (s *server) talk(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	s.mu.Lock()
	s.conns++
	s.mu.Unlock()
	reply := func(line string) bool {
		answer := s.answer(line)
		_, err := conn.Write([]byte(answer + "\r\n"))
		return answer != "" && err == nil
	}
	if !reply(greetingLine) {
		return
	}
	content := false
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		line := lines.Text()
		if content && line != "." {
			continue
		}
		s.mu.Lock()
		s.lines = append(s.lines, line)
		s.mu.Unlock()
		if !reply(line) {
			return
		}
		content = line == "DATA" && strings.HasPrefix(s.answer(line), "354")
	}
}

// sent returns the first line with the prefix that a client sent.
func (s *server) sent(prefix string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range s.lines {
		if strings.HasPrefix(line, prefix) || prefix == "EHLO" && strings.HasPrefix(line, "HELO") {
			return line
		}
	}
	return ""
}

// sender returns a Sender that sends to the server with the address from.
func (s *server) sender(t *testing.T, from string) *mail.Sender {
	t.Helper()
	sender, err := mail.New(mail.Config{Host: "127.0.0.1", Port: s.port, From: from})
	require.NoError(t, err)
	return sender
}

package model

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"time"
)

// line is a TCP proxy between one process and the database. To the database, a cut
// line looks like a killed process, and a held line like a stopped one.
type line struct {
	url             string
	network, server string
	listener        net.Listener
	working         sync.WaitGroup

	mu    sync.Mutex
	open  map[net.Conn]net.Conn // client → server
	isCut bool
	held  chan struct{} // closed when the line resumes; nil unless held
}

func newLine(target string) (*line, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	l := &line{network: "tcp", server: u.Host, open: map[net.Conn]net.Conn{}}
	if dir := u.Query().Get("host"); dir != "" {
		l.network, l.server = "unix", filepath.Join(dir, ".s.PGSQL."+u.Query().Get("port"))
	}
	if l.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	l.url = "postgres://" + u.User.String() + "@" + l.listener.Addr().String() + u.Path + "?sslmode=disable"
	go func() {
		for {
			client, err := l.listener.Accept()
			if err != nil {
				return
			}
			l.connect(client)
		}
	}()
	return l, nil
}

func (l *line) connect(client net.Conn) {
	server, err := net.Dial(l.network, l.server)
	if err != nil {
		_ = client.Close() // so that the client notices that the server is down
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isCut {
		_, _ = client.Close(), server.Close()
		return
	}
	l.open[client] = server
	l.working.Add(2)
	go func() {
		defer l.working.Done()
		l.pass(client, server)
		_ = server.(interface{ CloseWrite() error }).CloseWrite() // the server sees the end of the connection, and ends when it has finished
	}()
	go func() {
		defer l.working.Done()
		l.pass(server, client)
		_, _ = client.Close(), server.Close()
		l.mu.Lock()
		delete(l.open, client)
		l.mu.Unlock()
	}()
}

// pass copies until from is closed. It continues to read when to is closed, so that
// the server can finish its work.
func (l *line) pass(from, to net.Conn) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		l.mu.Lock()
		held := l.held
		l.mu.Unlock()
		if held != nil {
			<-held
		}
		l.mu.Lock()
		cut := l.isCut
		l.mu.Unlock()
		if !cut {
			_, _ = to.Write(buffer[:n])
		}
	}
}

// cut closes the line permanently and waits until the server has closed its
// connections: after that, an interrupted transaction has committed or never will.
func (l *line) cut() error {
	l.mu.Lock()
	l.isCut = true
	for client := range l.open {
		_ = client.Close()
	}
	if l.held != nil {
		close(l.held)
		l.held = nil
	}
	l.mu.Unlock()
	_ = l.listener.Close()
	over := make(chan struct{})
	go func() { l.working.Wait(); close(over) }()
	select {
	case <-over:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("the server goes on after %s", patience)
	}
}

func (l *line) hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = make(chan struct{})
}

func (l *line) goOn() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.held)
	l.held = nil
}

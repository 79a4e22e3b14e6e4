// Package signin prevents that a database's password is sent to a server that asks for it in a
// readable form. An attacker who runs a server in the place of PostgreSQL (on a Unix socket or
// a loopback port) could otherwise get it: lib/pq accepts any method that the server chooses,
// and does not support require_auth.
package signin

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
)

// ErrReadable is returned when the server asked for the password in clear text, or as MD5,
// without TLS. The password was not sent.
var ErrReadable = errors.New("the server asks for the password")

// Constants of the protocol.
const (
	sslRequest   = 80877103
	tlsHandshake = 0x16 // the first byte of a TLS connection

	authentication = 'R'
	readyForQuery  = 'Z' // the sign-in is complete
	cleartext      = 3
	md5            = 5
)

// Guard returns a connection to a PostgreSQL server that fails with ErrReadable before the
// driver can read a request for the password in clear text or as MD5. It does not check a
// connection with TLS, where the certificate identifies the server.
func Guard(c net.Conn) net.Conn { return &guard{Conn: c} }

type guard struct {
	net.Conn
	begun    bool // the first packet was written
	askedTLS bool // the server's next byte is its answer: TLS or not
	done     bool // TLS began, or the sign-in is complete
	head     []byte
	skip     uint32 // remaining bytes of a message to skip
}

// Write inspects the first packet: a request for TLS, TLS itself, or neither.
func (g *guard) Write(b []byte) (int, error) {
	if !g.begun && len(b) > 0 {
		g.begun = true
		g.done = b[0] == tlsHandshake
		g.askedTLS = len(b) == 8 && binary.BigEndian.Uint32(b[4:]) == sslRequest
	}
	return g.Conn.Write(b)
}

func (g *guard) Read(b []byte) (int, error) {
	n, err := g.Conn.Read(b)
	if g.done {
		return n, err
	}
	if refused := g.look(b[:n]); refused != nil {
		return 0, refused
	}
	return n, err
}

// look parses the server's messages: a type, a length that includes itself, and, for an
// authentication message, the method. They may arrive in pieces of any size.
func (g *guard) look(b []byte) error {
	if g.askedTLS && len(b) > 0 {
		g.askedTLS = false
		g.done = b[0] == 'S'
		b = b[1:]
	}
	for len(b) > 0 && !g.done {
		if g.skip > 0 {
			n := min(g.skip, uint32(len(b))) //nolint:gosec // a read is far smaller
			g.skip -= n
			b = b[n:]
			continue
		}
		g.head = append(g.head, b[0])
		b = b[1:]
		if len(g.head) < 5 {
			continue
		}
		length := binary.BigEndian.Uint32(g.head[1:])
		switch {
		case g.head[0] == readyForQuery:
			g.done = true
		case length < 4:
			return errors.New("the server's message has no length: is it PostgreSQL?")
		case g.head[0] != authentication || length < 8:
			g.skip, g.head = length-4, nil
		case len(g.head) == 9:
			switch binary.BigEndian.Uint32(g.head[5:]) {
			case cleartext:
				return fmt.Errorf("%w in clear text, without TLS", ErrReadable)
			case md5:
				return fmt.Errorf("%w as MD5, without TLS", ErrReadable)
			}
			g.skip, g.head = length-8, nil
		}
	}
	return nil
}

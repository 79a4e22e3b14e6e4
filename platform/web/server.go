package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"millrace/platform/errs"
)

// Server listens on one address and serves one handler.
type Server struct {
	http     *http.Server
	listener net.Listener
}

// Listen binds the address, such as "127.0.0.1:8080"; port 0 means any free
// port. Call Serve soon after, because clients that connect earlier must wait
// for it. setting is the configuration setting of the address; errors name it.
// limits bounds the connections; nil means no limit.
func Listen(address, setting string, handler http.Handler, limits *Limits, log *slog.Logger) (*Server, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address) // it does not wait
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, errs.New(errs.Resource, "%s is in use by another program: end that one, or set %s to another port: %w", address, setting, err)
	case errors.Is(err, syscall.EACCES):
		return nil, errs.New(errs.Resource, "%s needs rights that this program does not have: set %s to a port above 1023: %w", address, setting, err)
	case err != nil:
		return nil, errs.New(errs.Resource, "cannot listen on %q: set %s to an address of this machine, as 127.0.0.1:8080: %w", address, setting, err)
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	return &Server{listener: limits.bound(server, listener), http: server}, nil
}

// Address returns the bound address with its actual port.
func (s *Server) Address() string { return s.listener.Addr().String() }

// URL returns the server's URL for clients on this machine, without a trailing
// slash.
func (s *Server) URL() string {
	host, port, err := net.SplitHostPort(s.Address())
	if err != nil { // impossible: a TCP address has both
		return "http://" + s.Address()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// Serve handles requests until Shutdown, then returns nil.
func (s *Server) Serve() error {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", s.Address(), err)
	}
	return nil
}

// Shutdown accepts no new requests and waits until ctx is done for those being
// handled. Then it closes their connections and returns an error. It may be
// called without Serve, and twice.
func (s *Server) Shutdown(ctx context.Context) error {
	defer func() { _ = s.listener.Close() }() // already closed, unless Serve was never called
	if err := s.http.Shutdown(ctx); err != nil && !errors.Is(err, net.ErrClosed) {
		_ = s.http.Close() // the error above is returned
		return fmt.Errorf("requests were still being handled: %w", err)
	}
	return nil
}

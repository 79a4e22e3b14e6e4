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

// Listen takes the address, "127.0.0.1:8080" or with port 0 for any free one,
// and answers nothing yet: callers wait until Serve. setting is the name of the
// configuration that changes the address; the error for an address that cannot
// be had names it.
func Listen(address, setting string, handler http.Handler, log *slog.Logger) (*Server, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address) // it does not wait
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, errs.New(errs.Resource, "%s is in use by another program: end that one, or set %s to another port: %w", address, setting, err)
	case errors.Is(err, syscall.EACCES):
		return nil, errs.New(errs.Resource, "%s needs rights that this program does not have: set %s to a port above 1023: %w", address, setting, err)
	case err != nil:
		return nil, errs.New(errs.Resource, "cannot listen on %q: set %s to an address of this machine, as 127.0.0.1:8080: %w", address, setting, err)
	}
	return &Server{listener: listener, http: &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}}, nil
}

// Address is the address that was taken, with its real port.
func (s *Server) Address() string { return s.listener.Addr().String() }

// URL is the server's address as a client on this machine writes it, without a
// slash at the end.
func (s *Server) URL() string {
	host, port, err := net.SplitHostPort(s.Address())
	if err != nil { // a TCP address always has both
		return "http://" + s.Address()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// Serve answers requests until Shutdown, and then returns nil.
func (s *Server) Serve() error {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", s.Address(), err)
	}
	return nil
}

// Shutdown takes no new request and waits for those that are being handled,
// until ctx is done; then it cuts them and says so. It may be called without
// Serve, and twice.
func (s *Server) Shutdown(ctx context.Context) error {
	defer func() { _ = s.listener.Close() }() // closed already, unless Serve never ran
	if err := s.http.Shutdown(ctx); err != nil && !errors.Is(err, net.ErrClosed) {
		_ = s.http.Close() // the error to tell is the one above
		return fmt.Errorf("requests were still being handled: %w", err)
	}
	return nil
}

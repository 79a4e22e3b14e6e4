package pgurl

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/lib/pq"
)

// Encrypted returns an error unless the connection to every host is private: a Unix socket in
// a folder where not everybody may create one, or sslmode=verify-full.
func (u URL) Encrypted() error {
	cfg, err := u.Config()
	if err != nil {
		return err
	}
	for _, h := range hostsOf(cfg) {
		if !remote(h) {
			if err := anybodys(h.Host); err != nil {
				return err
			}
		}
	}
	if cfg.SSLMode == pq.SSLModeVerifyFull || !slices.ContainsFunc(hostsOf(cfg), remote) {
		return nil
	}
	const fix = "use sslmode=verify-full, with sslrootcert=FILE if the authority is not one of the system's (a Unix socket, as ?host=/folder, needs none)"
	switch given := u.parameters["sslmode"]; {
	case isSocket(cfg.Host) && !cfg.Hostaddr.IsValid():
		return errors.New("has a host behind a Unix socket, and then no connection is encrypted: name either sockets or hosts")
	case given == "":
		return errors.New("has no sslmode, so the server need not prove who it is: " + fix)
	default:
		return fmt.Errorf("sslmode=%s, in the URL or from PGSSLMODE, lets others on the way read or change what is sent: %s", given, fix)
	}
}

// anybodys returns an error if every user of the machine may create the socket. A missing
// folder is accepted, and the folders above it are trusted.
func anybodys(host string) error {
	const fix = "name a folder that only the server's user may write to, as ?host=/run/postgresql (unix_socket_directories of the server)"
	if strings.HasPrefix(host, "@") {
		return errors.New("has an abstract socket, on which every user of the machine may listen in the server's place: " + fix)
	}
	if info, err := os.Stat(host); err == nil && info.Mode().Perm()&0o002 != 0 {
		return fmt.Errorf("has a socket in %s, to which every user may write, and so listen in the server's place: %s", host, fix)
	}
	return nil
}

// NoSilentPassword returns an error if the password would come from the default password file,
// which the operator did not name.
func (u URL) NoSilentPassword() error {
	if u.parameters["password"] != "" || u.parameters["passfile"] != "" {
		return nil
	}
	home, err := os.UserHomeDir()
	file := filepath.Join(home, ".pgpass")
	if runtime.GOOS == "windows" {
		file = filepath.Join(os.Getenv("APPDATA"), "postgresql", "pgpass.conf")
	}
	if err == nil {
		_, err = os.Stat(file)
	}
	if err != nil {
		return nil //nolint:nilerr // no default file: the user signs in by certificate or as the system's user
	}
	return fmt.Errorf("has no password, and %s, which nobody named, would give one: write it into the URL or PGPASSWORD, "+
		"name the file in PGPASSFILE, or remove it if the sign-in needs no password", file)
}

// Local reports whether every host is this machine.
func Local(cfg pq.Config) bool {
	return !slices.ContainsFunc(hostsOf(cfg), func(h pq.ConfigMultihost) bool {
		if !remote(h) || !h.Hostaddr.IsValid() && h.Host == "localhost" {
			return false
		}
		ip := h.Hostaddr
		if !ip.IsValid() {
			ip, _ = netip.ParseAddr(h.Host) // other names are not addresses, and count as remote
		}
		return !ip.IsLoopback()
	})
}

func hostsOf(cfg pq.Config) []pq.ConfigMultihost {
	return append([]pq.ConfigMultihost{{Host: cfg.Host, Hostaddr: cfg.Hostaddr, Port: cfg.Port}}, cfg.Multi...)
}

// remote reports whether h is reached by TCP.
func remote(h pq.ConfigMultihost) bool { return h.Hostaddr.IsValid() || !isSocket(h.Host) }

// readable returns an error if a TLS file cannot be read; lib/pq would ignore some of them.
func readable(cfg pq.Config) error {
	if cfg.SSLInline || cfg.SSLMode == pq.SSLModeDisable || cfg.SSLMode == "" && Local(cfg) {
		return nil // without TLS no file is read
	}
	for name, path := range map[string]string{"sslrootcert": cfg.SSLRootCert, "sslcert": cfg.SSLCert, "sslkey": cfg.SSLKey} {
		if path == "" || name == "sslrootcert" && path == "system" {
			continue
		}
		if _, err := os.ReadFile(path); err != nil {
			return fmt.Errorf("%s, in the URL or from the environment, names a file that cannot be read: %w", name, err)
		}
	}
	return nil
}

package devserver

import (
	"net/http"
	"os"
	"path/filepath"
)

// PreferredMajor is the default major version.
const PreferredMajor = preferredMajor

var Pinned = pinned

func UnpackJar(jar []byte, into string) error {
	dir, err := os.OpenRoot(filepath.Dir(into))
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // nothing is buffered in it
	return unpackJar(jar, place{dir, filepath.Base(into)})
}

// Artifact is the name of this system's archive, without its version.
func Artifact() string { return "embedded-postgres-binaries-" + platform() }

// Trust makes downloads use these checksums and this network.
func (b *Binaries) Trust(sums string, transport http.RoundTripper) {
	b.sums, b.transport = sums, transport
}

// LockFD is the descriptor of the locked file.
func (s *Server) LockFD() int { return int(s.lock.Fd()) }

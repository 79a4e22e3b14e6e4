package devserver

import (
	_ "embed"
	"fmt"
	"os"
	"path"
	"runtime"
	"strings"

	"millrace/platform/errs"
)

// pinned has the SHA-256 of each archive of PostgreSQL that may be downloaded, in
// sha256sum's format: the newest archive of each major version that
// io.zonky.test.postgres publishes for a system. An archive that is not listed is
// never used.
//
//go:embed archives.sha256
var pinned string

// archive is a release of PostgreSQL for one system.
type archive struct{ name, artifact, version, sum string }

// findArchive returns the archive of a major version for a system.
func findArchive(sums string, major int, system string) (archive, error) {
	artifact := "embedded-postgres-binaries-" + system
	for line := range strings.Lines(sums) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		version, ok := strings.CutPrefix(name, artifact+"-")
		version, jar := strings.CutSuffix(version, ".jar")
		if ok && jar && strings.HasPrefix(version, fmt.Sprintf("%d.", major)) {
			return archive{name: name, artifact: artifact, version: version, sum: sum}, nil
		}
	}
	return archive{}, fmt.Errorf("no download of PostgreSQL %d for %s is known", major, system)
}

// address is the archive's URL in a Maven repository.
func (a archive) address(repository string) (string, error) {
	if !strings.HasPrefix(repository, "https://") {
		return "", errs.InvalidField("Binaries.Repository", "%q must begin with https://, or be \"off\"", repository)
	}
	return strings.TrimSuffix(repository, "/") + "/" + path.Join("io/zonky/test/postgres", a.artifact, a.version, a.name), nil
}

// platform is the part of an artifact's name for this system.
func platform() string {
	arch := runtime.GOARCH
	if arch == "arm64" {
		arch = "arm64v8"
	}
	if _, err := os.Stat("/etc/alpine-release"); err == nil {
		arch += "-alpine"
	}
	return runtime.GOOS + "-" + arch
}

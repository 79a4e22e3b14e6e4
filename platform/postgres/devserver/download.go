package devserver

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/xi2/xz"
)

// published are the releases that io.zonky.test.postgres has for every system
// that we know, by major version.
var published = map[int]string{14: "14.18.0", 15: "15.13.0", 16: "16.9.0", 17: "17.5.0", 18: "18.3.0"}

const (
	mavenCentral     = "https://repo1.maven.org/maven2"
	preferredMajor   = 17
	largestDownload  = 200 << 20 // bytes; the archives have 10 to 60 MB
	downloadPatience = 5 * time.Minute
)

// download fetches PostgreSQL's programs once and keeps them.
func (b Binaries) download(ctx context.Context, wanted int, files layout, who account, log *slog.Logger) (programs, error) {
	if b.Repository == "off" {
		return programs{}, errors.New("downloading is switched off")
	}
	wanted = cmp.Or(wanted, b.Major, preferredMajor)
	version, ok := published[wanted]
	if !ok {
		return programs{}, fmt.Errorf("no download of PostgreSQL %d is known", wanted)
	}
	cache := b.Cache
	if cache == "" {
		cache = filepath.Join(files.dir, "postgresql")
	}
	dir := filepath.Join(cache, version)
	if p, err := inspect(ctx, filepath.Join(dir, "bin"), who); err == nil && p.major == wanted {
		return p, nil
	}
	if err := makeDir(cache); err != nil {
		return programs{}, err
	}
	lock, err := waitLock(dir + ".lock") // another process may be fetching the same
	if err != nil {
		return programs{}, err
	}
	defer lock.Close() //nolint:errcheck // releases the lock
	if p, err := inspect(ctx, filepath.Join(dir, "bin"), who); err == nil && p.major == wanted {
		return p, nil
	}
	if err := b.fetchInto(ctx, dir, version, log); err != nil {
		return programs{}, err
	}
	p, err := inspect(ctx, filepath.Join(dir, "bin"), who)
	if err != nil {
		return programs{}, fmt.Errorf("the downloaded PostgreSQL does not run here: %w", err)
	}
	if p.major != wanted {
		return programs{}, fmt.Errorf("the archive of PostgreSQL %s holds %s", version, p.version)
	}
	return p, nil
}

// fetchInto downloads a release, checks it, and unpacks it beside dir before
// it takes the name.
func (b Binaries) fetchInto(ctx context.Context, dir, version string, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, downloadPatience)
	defer cancel()
	repository := b.Repository
	if repository == "" {
		repository = mavenCentral
	}
	artifact := "embedded-postgres-binaries-" + platform()
	address := fmt.Sprintf("%s/io/zonky/test/postgres/%s/%s/%s-%s.jar", strings.TrimSuffix(repository, "/"), artifact, version, artifact, version)
	log.Info("no PostgreSQL is installed: downloading one, once", "from", address)
	jar, err := get(ctx, address)
	if err != nil {
		return err
	}
	sum, err := get(ctx, address+".sha256")
	if err != nil {
		return err
	}
	if got := sha256.Sum256(jar); hex.EncodeToString(got[:]) != strings.ToLower(strings.TrimSpace(string(sum))) {
		return fmt.Errorf("%s does not have the checksum that the repository names", address)
	}
	making := dir + ".new"
	if err := os.RemoveAll(making); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil { // what lies there does not run
		return err
	}
	if err := unpackJar(jar, making); err != nil {
		return fmt.Errorf("unpack %s: %w", address, err)
	}
	return os.Rename(making, dir)
}

// platform is the part of an artifact's name that says where it runs.
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

func get(ctx context.Context, address string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request) //nolint:forbidigo // ctx is its time limit
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() //nolint:errcheck // it was only read
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s", address, response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, largestDownload+1))
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", address, err)
	}
	if len(body) > largestDownload {
		return nil, fmt.Errorf("GET %s: more than %d MB", address, largestDownload>>20)
	}
	return body, nil
}

// unpackJar unpacks the one .txz in a jar.
func unpackJar(jar []byte, into string) error {
	archive, err := zip.NewReader(bytes.NewReader(jar), int64(len(jar)))
	if err != nil {
		return err
	}
	for _, entry := range archive.File {
		if !strings.HasSuffix(entry.Name, ".txz") {
			continue
		}
		packed, err := entry.Open()
		if err != nil {
			return err
		}
		defer packed.Close() //nolint:errcheck // it was only read
		unpacked, err := xz.NewReader(packed, 0)
		if err != nil {
			return err
		}
		return unpackTar(tar.NewReader(unpacked), into)
	}
	return errors.New("there is no .txz in it")
}

// unpackTar unpacks folders, files and links; os.Root keeps them inside.
func unpackTar(archive *tar.Reader, into string) error {
	if err := os.Mkdir(into, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(into)
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // nothing is buffered in it
	for {
		entry, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := filepath.Clean(filepath.FromSlash(entry.Name))
		if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		switch entry.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(name, 0o755)
		case tar.TypeSymlink:
			err = root.Symlink(entry.Linkname, name)
		case tar.TypeLink:
			err = root.Link(filepath.Clean(filepath.FromSlash(entry.Linkname)), name)
		case tar.TypeReg:
			err = writeEntry(root, name, entry.FileInfo().Mode().Perm()|0o444, archive)
		}
		if err != nil {
			return err
		}
	}
}

func writeEntry(root *os.Root, name string, mode os.FileMode, from io.Reader) (err error) {
	out, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, from)
	return err
}

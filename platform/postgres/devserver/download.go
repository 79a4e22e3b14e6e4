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
	"strings"
	"time"

	"github.com/xi2/xz"

	"millrace/platform/datadir"
)

const (
	mavenCentral     = "https://repo1.maven.org/maven2"
	preferredMajor   = 17
	largestDownload  = 64 << 20  // bytes; the archives have 10 to 35 MB
	largestUnpacked  = 512 << 20 // bytes of the .txz
	downloadPatience = 5 * time.Minute
)

// download downloads PostgreSQL's programs, unless they are in the cache.
func (b Binaries) download(ctx context.Context, wanted int, dir *os.Root, who account, log *slog.Logger) (programs, error) {
	if b.Repository == "off" {
		return programs{}, errors.New("downloading is switched off")
	}
	wanted = cmp.Or(wanted, b.Major, preferredMajor)
	found, err := findArchive(cmp.Or(b.sums, pinned), wanted, platform())
	if err != nil {
		return programs{}, err
	}
	cache, err := b.openCache(dir)
	if err != nil {
		return programs{}, err
	}
	defer cache.Close() //nolint:errcheck // nothing is buffered in it
	bin := filepath.Join(cache.Name(), found.version, "bin")
	if p, err := inspect(ctx, bin, who); err == nil && p.major == wanted {
		return p, nil
	}
	lock, err := waitLock(cache, found.version+".lock") // another process may be downloading the same archive
	if err != nil {
		return programs{}, err
	}
	defer unlock(lock) //nolint:errcheck // nothing is buffered in it
	if p, err := inspect(ctx, bin, who); err == nil && p.major == wanted {
		return p, nil
	}
	if err := b.fetchInto(ctx, cache, found, log); err != nil {
		return programs{}, err
	}
	p, err := inspect(ctx, bin, who)
	if err != nil {
		return programs{}, fmt.Errorf("the downloaded PostgreSQL does not run here: %w", err)
	}
	if p.major != wanted {
		return programs{}, fmt.Errorf("the archive of PostgreSQL %s holds %s", found.version, p.version)
	}
	return p, nil
}

// openCache opens the folder for downloads, and creates it if necessary.
func (b Binaries) openCache(dir *os.Root) (*os.Root, error) {
	const name = "postgresql"
	if b.Cache != "" {
		return datadir.OpenAny(b.Cache, 0o700)
	}
	return datadir.OpenIn(dir, name, 0o700)
}

// fetchInto downloads an archive, checks its SHA-256, and unpacks it into a temporary
// folder that is then renamed.
func (b Binaries) fetchInto(ctx context.Context, cache *os.Root, wanted archive, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, downloadPatience)
	defer cancel()
	address, err := wanted.address(cmp.Or(b.Repository, mavenCentral))
	if err != nil {
		return err
	}
	log.Info("downloading PostgreSQL, once: no fitting version is installed", "from", address)
	jar, err := b.get(ctx, address)
	if err != nil {
		return err
	}
	if got := sha256.Sum256(jar); hex.EncodeToString(got[:]) != wanted.sum {
		return fmt.Errorf("%s has the SHA-256 %x, not %s, which this program expects: it was changed on its way or in the repository, and is not used",
			address, got, wanted.sum)
	}
	making := place{cache, wanted.version + ".new"}
	if err := cache.RemoveAll(making.name); err != nil {
		return err
	}
	if err := cache.RemoveAll(wanted.version); err != nil { // a broken earlier download
		return err
	}
	if err := unpackJar(jar, making); err != nil {
		return fmt.Errorf("unpack %s: %w", address, err)
	}
	return cache.Rename(making.name, wanted.version)
}

// get downloads an archive. It refuses plain HTTP, also in redirects.
func (b Binaries) get(ctx context.Context, address string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: b.transport, CheckRedirect: httpsOnly} // ctx is its time limit
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() //nolint:errcheck // opened only for reading
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

func httpsOnly(next *http.Request, before []*http.Request) error {
	if next.URL.Scheme != "https" {
		return fmt.Errorf("redirect to %s is refused: it is not https", next.URL.Redacted())
	}
	if len(before) >= 5 {
		return errors.New("more than 5 redirects")
	}
	return nil
}

// unpackJar unpacks the only .txz in a jar.
func unpackJar(jar []byte, into place) error {
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
		defer packed.Close() //nolint:errcheck // opened only for reading
		unpacked, err := xz.NewReader(packed, 0)
		if err != nil {
			return err
		}
		return unpackTar(tar.NewReader(io.LimitReader(unpacked, largestUnpacked)), into)
	}
	return errors.New("there is no .txz in it")
}

// unpackTar unpacks folders, files, and links that stay inside the folder. Any other
// entry is an error. os.Root guarantees that nothing is written outside the folder.
func unpackTar(archive *tar.Reader, into place) error {
	if err := into.dir.Mkdir(into.name, 0o755); err != nil {
		return err
	}
	root, err := into.dir.OpenRoot(into.name)
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
		if err := checkEntry(entry, name); err != nil {
			return err
		}
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
			err = writeEntry(root, name, entry.FileInfo().Mode().Perm()&0o755|0o444, archive)
		}
		if err != nil {
			return err
		}
	}
}

func checkEntry(entry *tar.Header, name string) error {
	target := filepath.FromSlash(entry.Linkname)
	switch entry.Typeflag {
	case tar.TypeDir, tar.TypeReg:
	case tar.TypeLink:
		if !filepath.IsLocal(target) {
			return fmt.Errorf("entry %q: its link %q leaves the archive", entry.Name, entry.Linkname)
		}
	case tar.TypeSymlink:
		if filepath.IsAbs(target) || !filepath.IsLocal(filepath.Join(filepath.Dir(name), target)) {
			return fmt.Errorf("entry %q: its link %q leaves the archive", entry.Name, entry.Linkname)
		}
	default:
		return fmt.Errorf("entry %q is neither a file, a folder nor a link", entry.Name)
	}
	if !filepath.IsLocal(name) {
		return fmt.Errorf("entry %q leaves the archive", entry.Name)
	}
	return nil
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

package devserver_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
	"millrace/platform/postgres/devserver"
)

// installed returns the folders of the programs, libraries and shared files of the
// PostgreSQL that the other tests use.
func installed(t *testing.T) (bin, lib, share string, major int) {
	t.Helper()
	db := connect(t, start(t, config(dataDir(t))), "postgres")
	const query = "SELECT setting FROM pg_config WHERE name = "
	version, err := strconv.Atoi(value(t, db, "SHOW server_version_num"))
	require.NoError(t, err)
	return value(t, db, query+"'BINDIR'"), value(t, db, query+"'PKGLIBDIR'"), value(t, db, query+"'SHAREDIR'"), version / 10000
}

// repository serves the installed programs like a Maven repository, and counts the
// requests.
func repository(t *testing.T) (cfg devserver.Config, asked *atomic.Int32) {
	t.Helper()
	bin, lib, share, major := installed(t)
	jar := pack(t, bin, lib, share)
	asked = &atomic.Int32{}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if want := fmt.Sprintf("/maven/io/zonky/test/postgres/%s/%d.0.0/%[1]s-%[2]d.0.0.jar", devserver.Artifact(), major); r.URL.Path != want {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(jar) // the client reports the error
	}))
	t.Cleanup(server.Close)
	cfg = withoutPrograms(t)
	cfg.Binaries.Repository, cfg.Binaries.Major = server.URL+"/maven", major
	cfg.Binaries.Trust(sumsOf(jar, major), server.Client().Transport)
	return cfg, asked
}

func sumsOf(jar []byte, major int) string {
	return fmt.Sprintf("%x  %s-%d.0.0.jar\n", sha256.Sum256(jar), devserver.Artifact(), major)
}

func withoutPrograms(t *testing.T) devserver.Config {
	t.Helper()
	cfg := config(dataDir(t))
	cfg.Binaries.Search = []string{filepath.Join(cfg.DataDir, "nothing")}
	return cfg
}

func TestDownload_RefusesChangedArchive(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(jar []byte) []byte{
		"FirstByte":  func(jar []byte) []byte { jar[0] ^= 1; return jar },
		"MiddleByte": func(jar []byte) []byte { jar[len(jar)/2] ^= 1; return jar },
		"LastByte":   func(jar []byte) []byte { jar[len(jar)-1] ^= 1; return jar },
		"OneMore":    func(jar []byte) []byte { return append(jar, 0) },
		"OneLess":    func(jar []byte) []byte { return jar[:len(jar)-1] },
		"Nothing":    func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			jar := jarOf(t, nil)
			cfg := withoutPrograms(t)
			cfg.Binaries.Major = devserver.PreferredMajor
			sums := sumsOf(jar, devserver.PreferredMajor)
			changed := spoil(jar)
			cfg.Binaries.Trust(sums, answer(func(*http.Request) *http.Response { return response(http.StatusOK, bytes.NewReader(changed)) }))
			require.ErrorContains(t, startError(t, cfg), "which this program expects")
			left, err := filepath.Glob(filepath.Join(cfg.DataDir, "postgresql", "*", "*"))
			require.NoError(t, err)
			require.Empty(t, left, "nothing of it was unpacked")
		})
	}
}

func TestDownload_RefusesOtherVersion(t *testing.T) {
	t.Parallel()
	bin, _, _, major := installed(t)
	jar := pack(t, bin)
	other := 14 + (major-13)%5
	cfg := withoutPrograms(t)
	cfg.Binaries.Repository, cfg.Binaries.Major = "https://repository.test/maven", other
	cfg.Binaries.Trust(sumsOf(jar, other), answer(func(*http.Request) *http.Response { return response(http.StatusOK, bytes.NewReader(jar)) }))
	require.ErrorContains(t, startError(t, cfg), "the archive of PostgreSQL "+strconv.Itoa(other))
}

// answer is a network that answers every request with the function's response.
type answer func(*http.Request) *http.Response

func (a answer) RoundTrip(r *http.Request) (*http.Response, error) {
	response := a(r)
	response.Request = r
	return response, nil
}

func response(status int, body io.Reader) *http.Response {
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: http.Header{}, Body: io.NopCloser(body), ContentLength: -1}
}

func TestDownload_RequiresHTTPS(t *testing.T) {
	t.Parallel()
	for name, repository := range map[string]string{
		"PlainHTTP":        "http://repository.test/maven",
		"UpperCase":        "HTTP://repository.test/maven",
		"File":             "file:///maven",
		"NoScheme":         "repository.test/maven",
		"RedirectToHTTP":   "https://redirects.test/maven",
		"RedirectToFile":   "https://redirects.test/file",
		"SecondRedirect":   "https://redirects.test/twice",
		"EndlessRedirects": "https://redirects.test/endless",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := withoutPrograms(t)
			cfg.Binaries.Repository, cfg.Binaries.Major = repository, devserver.PreferredMajor
			var insecure atomic.Int32
			cfg.Binaries.Trust(devserver.Pinned, answer(func(r *http.Request) *http.Response {
				if r.URL.Scheme != "https" {
					insecure.Add(1)
				}
				redirect := response(http.StatusFound, http.NoBody)
				first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
				redirect.Header.Set("Location", map[string]string{
					"maven": "http://repository.test/x", "file": "file:///etc/passwd", "twice": "https://redirects.test/maven", "endless": "/endless",
				}[first])
				return redirect
			}))
			err := startError(t, cfg)
			require.Regexp(t, "must begin with https://|is refused: it is not https|more than 5 redirects", err.Error())
			require.Zero(t, insecure.Load(), "nothing was asked for without TLS")
		})
	}
}

func TestDownload_FollowsRedirectToAnotherHTTPSHost(t *testing.T) {
	t.Parallel()
	cfg := withoutPrograms(t)
	cfg.Binaries.Repository, cfg.Binaries.Major = "https://repository.test", devserver.PreferredMajor
	cfg.Binaries.Trust(devserver.Pinned, answer(func(r *http.Request) *http.Response {
		if r.URL.Host == "files.test" {
			return response(http.StatusOK, strings.NewReader("not the archive"))
		}
		redirect := response(http.StatusFound, http.NoBody)
		redirect.Header.Set("Location", "https://files.test/x")
		return redirect
	}))
	require.ErrorContains(t, startError(t, cfg), "which this program expects", "it was fetched, and judged by its sum")
}

func TestDownload_LimitsSize(t *testing.T) {
	t.Parallel()
	cfg := withoutPrograms(t)
	cfg.Binaries.Major = devserver.PreferredMajor
	cfg.Binaries.Trust(devserver.Pinned, answer(func(*http.Request) *http.Response { return response(http.StatusOK, zeros{}) }))
	require.ErrorContains(t, startError(t, cfg), "more than 64 MB")
}

// zeros is an endless file.
type zeros struct{}

func (zeros) Read(into []byte) (int, error) { clear(into); return len(into), nil }

func TestDownload_RefusesUnknownMajor(t *testing.T) {
	t.Parallel()
	cfg := withoutPrograms(t)
	cfg.Binaries.Major = 99
	cfg.Binaries.Trust(devserver.Pinned, answer(func(*http.Request) *http.Response { panic("nothing is asked for") }))
	require.ErrorContains(t, startError(t, cfg), "no download of PostgreSQL 99 for")
}

// TestPinned_HasEverySystem: the default version is listed for every system, and each
// line is well formed.
func TestPinned_HasEverySystem(t *testing.T) {
	t.Parallel()
	line := regexp.MustCompile(`^[0-9a-f]{64}  embedded-postgres-binaries-([a-z0-9-]+)-(\d+)\.\d+\.0\.jar$`)
	offered := map[string][]string{}
	for text := range strings.Lines(devserver.Pinned) {
		found := line.FindStringSubmatch(strings.TrimSuffix(text, "\n"))
		require.NotNil(t, found, text)
		require.NotContains(t, offered[found[2]], found[1], "one release of each")
		offered[found[2]] = append(offered[found[2]], found[1])
	}
	require.ElementsMatch(t, []string{"linux-amd64", "linux-arm64v8", "linux-amd64-alpine", "darwin-amd64", "darwin-arm64v8", "windows-amd64"},
		offered[strconv.Itoa(devserver.PreferredMajor)])
	require.Len(t, offered, 5, "14 to 18")
}

func TestStart_WithoutPostgreSQLErrorNamesWhatToInstall(t *testing.T) {
	t.Parallel()
	offline := httptest.NewServer(http.NotFoundHandler())
	offline.Close()
	cfg := config(dataDir(t))
	cfg.Binaries.Search = []string{filepath.Join(cfg.DataDir, "nothing")}
	cfg.Binaries.Repository = strings.Replace(offline.URL, "http:", "https:", 1)
	err := startError(t, cfg)
	require.Equal(t, errs.Resource, errs.KindOf(err))
	require.ErrorContains(t, err, "no PostgreSQL was found on this machine")
	require.ErrorContains(t, err, "install PostgreSQL")
	require.ErrorContains(t, err, "DATABASE_URL")
}

// An interrupted search does not prove that PostgreSQL is not installed.
func TestStart_CancelledSearchDoesNotReportMissingPostgreSQL(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := devserver.Start(ctx, config(dataDir(t)))
	require.Equal(t, errs.Shutdown, errs.KindOf(err), "%v", err)
	require.NotContains(t, err.Error(), "no PostgreSQL")
}

func TestStart_RefusesProgramFolderWithoutPrograms(t *testing.T) {
	t.Parallel()
	cfg := config(dataDir(t))
	cfg.Binaries.Dir = t.TempDir()
	require.Equal(t, "Binaries.Dir", errs.FieldOf(startError(t, cfg)))
}

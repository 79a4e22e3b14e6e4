package devserver_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
	"millrace/platform/postgres/devserver"
)

// installed returns where the PostgreSQL that the other tests use has its
// programs, libraries and shared files.
func installed(t *testing.T) (bin, lib, share string, major int) {
	t.Helper()
	db := connect(t, start(t, config(dataDir(t))), "postgres")
	const query = "SELECT setting FROM pg_config WHERE name = "
	version, err := strconv.Atoi(value(t, db, "SHOW server_version_num"))
	require.NoError(t, err)
	return value(t, db, query+"'BINDIR'"), value(t, db, query+"'PKGLIBDIR'"), value(t, db, query+"'SHAREDIR'"), version / 10000
}

// repository serves the installed programs as a Maven repository serves them,
// and counts what is asked for.
func repository(t *testing.T, spoil func(sum []byte)) (cfg devserver.Config, asked *atomic.Int32) {
	t.Helper()
	bin, lib, share, major := installed(t)
	jar := pack(t, bin, lib, share)
	sum := sha256.Sum256(jar)
	spoil(sum[:])
	asked = &atomic.Int32{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if !strings.HasPrefix(r.URL.Path, "/maven/io/zonky/test/postgres/embedded-postgres-binaries-") {
			http.NotFound(w, r)
			return
		}
		body := jar
		if strings.HasSuffix(r.URL.Path, ".sha256") {
			body = []byte(hex.EncodeToString(sum[:]))
		}
		_, _ = w.Write(body) // the client's error tells
	}))
	t.Cleanup(server.Close)
	cfg = config(dataDir(t))
	cfg.Binaries.Search = []string{filepath.Join(cfg.DataDir, "nothing")}
	cfg.Binaries.Repository, cfg.Binaries.Major = server.URL+"/maven", major
	return cfg, asked
}

func TestWithoutPostgreSQLItIsDownloadedOnceAndChecked(t *testing.T) {
	t.Parallel()
	cfg, asked := repository(t, func([]byte) {})
	cfg.Template = ""
	for range 2 {
		server := start(t, cfg)
		require.Equal(t, "1", value(t, connect(t, server, "postgres"), "SELECT 1"))
		require.NoError(t, server.Stop())
	}
	require.Equal(t, int32(2), asked.Load(), "one archive and one checksum, for both starts")
}

func TestADownloadWithAWrongChecksumIsNotUsed(t *testing.T) {
	t.Parallel()
	cfg, _ := repository(t, func(sum []byte) { sum[0]++ })
	require.ErrorContains(t, startError(t, cfg), "does not have the checksum")
}

func TestADownloadOfAnotherVersionThanItSaysIsNotUsed(t *testing.T) {
	t.Parallel()
	cfg, _ := repository(t, func([]byte) {})
	cfg.Binaries.Major = 14 + (cfg.Binaries.Major-13)%5 // another that is published
	require.ErrorContains(t, startError(t, cfg), "the archive of PostgreSQL "+strconv.Itoa(cfg.Binaries.Major))
}

func TestWithoutPostgreSQLAndOfflineTheErrorSaysWhatToInstall(t *testing.T) {
	t.Parallel()
	offline := httptest.NewServer(http.NotFoundHandler())
	offline.Close()
	cfg := config(dataDir(t))
	cfg.Binaries.Search = []string{filepath.Join(cfg.DataDir, "nothing")}
	cfg.Binaries.Repository = offline.URL
	err := startError(t, cfg)
	require.Equal(t, errs.Resource, errs.KindOf(err))
	require.ErrorContains(t, err, "no PostgreSQL was found on this machine")
	require.ErrorContains(t, err, "install PostgreSQL")
	require.ErrorContains(t, err, "DATABASE_URL")
}

func TestAFolderOfProgramsWithoutProgramsIsRefused(t *testing.T) {
	t.Parallel()
	cfg := config(dataDir(t))
	cfg.Binaries.Dir = t.TempDir()
	require.Equal(t, "Binaries.Dir", errs.FieldOf(startError(t, cfg)))
}

// pack makes a jar with a .txz that has the two programs, and links to the
// other files, which the programs look for relative to themselves.
func pack(t *testing.T, bin, lib, share string) []byte {
	t.Helper()
	var tarred bytes.Buffer
	archive := tar.NewWriter(&tarred)
	require.NoError(t, archive.WriteHeader(&tar.Header{Name: "./bin/", Typeflag: tar.TypeDir, Mode: 0o755}))
	for _, name := range []string{"initdb", "postgres"} {
		path, err := exec.LookPath(filepath.Join(bin, name))
		require.NoError(t, err)
		program, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, archive.WriteHeader(&tar.Header{Name: "./bin/" + filepath.Base(path), Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(program))}))
		_, err = archive.Write(program)
		require.NoError(t, err)
	}
	for _, folder := range []string{lib, share} {
		relative, err := filepath.Rel(bin, folder)
		require.NoError(t, err)
		if name := filepath.Join("bin", relative); filepath.IsLocal(name) {
			require.NoError(t, archive.WriteHeader(&tar.Header{Name: filepath.ToSlash(name), Typeflag: tar.TypeSymlink, Linkname: folder}))
		}
	}
	require.NoError(t, archive.Close())

	var jar bytes.Buffer
	zipped := zip.NewWriter(&jar)
	_, err := zipped.Create("META-INF/MANIFEST.MF")
	require.NoError(t, err)
	entry, err := zipped.Create("postgres-test.txz")
	require.NoError(t, err)
	_, err = entry.Write(xzStored(tarred.Bytes()))
	require.NoError(t, err)
	require.NoError(t, zipped.Close())
	return jar.Bytes()
}

// xzStored wraps data in an .xz stream without compressing it.
func xzStored(data []byte) []byte {
	sealed := func(b []byte) []byte { return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b)) }
	number := func(b []byte, n uint64) []byte { return binary.AppendUvarint(b, n) }
	flags := []byte{0, 0} // no check of the content
	out := append([]byte("\xfd7zXZ\x00"), sealed(flags)...)
	// One block: a header of 12 bytes that names LZMA2 with 4 MB of dictionary.
	header := sealed([]byte{2, 0, 0x21, 1, 20, 0, 0, 0})
	begin := len(out)
	out = append(out, header...)
	for rest := data; len(rest) > 0; {
		chunk := rest[:min(len(rest), 1<<16)]
		control := byte(2)
		if len(rest) == len(data) {
			control = 1 // the first resets the dictionary
		}
		out = append(out, control, byte((len(chunk)-1)>>8), byte(len(chunk)-1))
		out = append(out, chunk...)
		rest = rest[len(chunk):]
	}
	out = append(out, 0)
	unpadded := len(out) - begin
	for (len(out)-begin)%4 != 0 {
		out = append(out, 0)
	}
	index := number(number(number([]byte{0}, 1), uint64(unpadded)), uint64(len(data)))
	for len(index)%4 != 0 {
		index = append(index, 0)
	}
	index = sealed(index)
	out = append(out, index...)
	footer := append(binary.LittleEndian.AppendUint32(nil, uint32(len(index)/4-1)), flags...)
	out = binary.LittleEndian.AppendUint32(out, crc32.ChecksumIEEE(footer))
	return append(append(out, footer...), "YZ"...)
}

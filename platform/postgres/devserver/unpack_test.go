package devserver_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/postgres/devserver"
)

func TestUnpack_RefusesEntriesOutsideFolder(t *testing.T) {
	t.Parallel()
	file := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644} }
	link := func(kind byte, name, target string) tar.Header {
		return tar.Header{Name: name, Linkname: target, Typeflag: kind, Mode: 0o777}
	}
	for name, entries := range map[string][]tar.Header{
		"FileAbove":            {file("../planted")},
		"FileFarAbove":         {file("bin/../../planted")},
		"AbsoluteFile":         {file("/planted")},
		"LinkAbove":            {link(tar.TypeSymlink, "bin/out", "../../planted")},
		"AbsoluteLink":         {link(tar.TypeSymlink, "out", "/etc")},
		"FileThroughLink":      {link(tar.TypeSymlink, "out", ".."), file("out/planted")},
		"HardLinkAbove":        {link(tar.TypeLink, "out", "../planted")},
		"AbsoluteHardLink":     {link(tar.TypeLink, "out", "/etc/passwd")},
		"Device":               {{Name: "disk", Typeflag: tar.TypeBlock, Devmajor: 8}},
		"Pipe":                 {{Name: "pipe", Typeflag: tar.TypeFifo}},
		"FolderAbove":          {{Name: "../planted", Typeflag: tar.TypeDir, Mode: 0o755}},
		"SecondFileOfTheName":  {file("bin/x"), file("bin/x")},
		"FileInPlaceOfALinked": {file("bin/x"), link(tar.TypeSymlink, "bin/y", "x"), file("bin/y")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			above := t.TempDir()
			var tarred bytes.Buffer
			archive := tar.NewWriter(&tarred)
			for _, entry := range entries {
				require.NoError(t, archive.WriteHeader(&entry))
			}
			require.NoError(t, archive.Close())
			require.Error(t, devserver.UnpackJar(jarOf(t, tarred.Bytes()), filepath.Join(above, "into")))
			found, err := os.ReadDir(above)
			require.NoError(t, err)
			require.Len(t, found, 1, "nothing was written beside the folder")
		})
	}
}

func TestUnpack_KeepsInnerLinksAndRemovesRightsOfOthers(t *testing.T) {
	t.Parallel()
	var tarred bytes.Buffer
	archive := tar.NewWriter(&tarred)
	for _, entry := range []tar.Header{
		{Name: "./lib/", Typeflag: tar.TypeDir, Mode: 0o777},
		{Name: "./lib/libpq.so.5.1", Typeflag: tar.TypeReg, Mode: 0o6777},
		{Name: "./lib/libpq.so", Typeflag: tar.TypeSymlink, Linkname: "libpq.so.5.1"},
		{Name: "./bin/lib", Typeflag: tar.TypeSymlink, Linkname: "../lib"},
	} {
		require.NoError(t, archive.WriteHeader(&entry))
	}
	require.NoError(t, archive.Close())
	into := filepath.Join(t.TempDir(), "into")
	require.NoError(t, devserver.UnpackJar(jarOf(t, tarred.Bytes()), into))
	info, err := os.Stat(filepath.Join(into, "bin", "lib", "libpq.so"))
	require.NoError(t, err)
	require.Zero(t, info.Mode()&(os.ModeSetuid|os.ModeSetgid|0o022), info.Mode())
}

// pack makes a jar with a .txz of the two programs, and of other files in the places where
// the programs look for them.
func pack(t *testing.T, bin string, others ...string) []byte {
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
	for _, folder := range others {
		relative, err := filepath.Rel(bin, folder)
		require.NoError(t, err)
		if name := filepath.Join("bin", relative); filepath.IsLocal(name) {
			addFiles(t, archive, folder, filepath.ToSlash(name))
		}
	}
	require.NoError(t, archive.Close())
	return jarOf(t, tarred.Bytes())
}

// addFiles adds the files of a folder under another folder's name.
func addFiles(t *testing.T, archive *tar.Writer, folder, name string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(folder, func(at string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Stat(at) // follows links
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		relative, err := filepath.Rel(folder, at)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(at)
		if err != nil {
			return err
		}
		header := &tar.Header{Name: path.Join(name, filepath.ToSlash(relative)), Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(text))}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		_, err = archive.Write(text)
		return err
	}))
}

// jarOf makes a jar with a .txz.
func jarOf(t *testing.T, tarred []byte) []byte {
	t.Helper()
	var jar bytes.Buffer
	zipped := zip.NewWriter(&jar)
	_, err := zipped.Create("META-INF/MANIFEST.MF")
	require.NoError(t, err)
	entry, err := zipped.Create("postgres-test.txz")
	require.NoError(t, err)
	_, err = entry.Write(xzStored(tarred))
	require.NoError(t, err)
	require.NoError(t, zipped.Close())
	return jar.Bytes()
}

// xzStored wraps data in an .xz stream without compression.
func xzStored(data []byte) []byte {
	sealed := func(b []byte) []byte { return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b)) }
	number := func(b []byte, n uint64) []byte { return binary.AppendUvarint(b, n) }
	flags := []byte{0, 0} // no checksum of the content
	out := append([]byte("\xfd7zXZ\x00"), sealed(flags)...)
	// One block: a header of 12 bytes, for LZMA2 with a dictionary of 4 MB.
	header := sealed([]byte{2, 0, 0x21, 1, 20, 0, 0, 0})
	begin := len(out)
	out = append(out, header...)
	for rest := data; len(rest) > 0; {
		chunk := rest[:min(len(rest), 1<<16)]
		control := byte(2)
		if len(rest) == len(data) {
			control = 1 // the first chunk resets the dictionary
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

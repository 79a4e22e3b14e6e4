package simulator

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"millrace/platform/datadir"
	"millrace/platform/errs"
)

const (
	secretPrefix = "whsec_"
	secretBytes  = 32
)

// KeptSecret returns the secret in the file, for Config.Secret. If there is no
// file it creates one with a random secret, readable by its owner only. Concurrent
// processes get the same secret.
func KeptSecret(path string) (string, error) {
	dir, err := datadir.Open(filepath.Dir(path), 0o700)
	if err != nil {
		return "", fmt.Errorf("simulator: its secret: %w", err)
	}
	defer dir.Close() //nolint:errcheck // nothing is buffered in it
	name := filepath.Base(path)
	secret, err := readSecret(dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeSecret(dir, name); err == nil {
			secret, err = readSecret(dir, name)
		}
	}
	if err != nil {
		return "", fmt.Errorf("simulator: its secret in %s: %w", path, err)
	}
	return secret, nil
}

func readSecret(dir *os.Root, name string) (string, error) {
	f, err := dir.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // it was not written to
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		return "", errs.New(errs.Invalid, "others may read or change it (mode %04o), and sign results: remove it, to have a new one made, or let only its owner (chmod 600)", info.Mode().Perm())
	}
	const more = 1 << 10 // longer than any valid secret
	text, err := io.ReadAll(io.LimitReader(f, more))
	if err != nil {
		return "", err
	}
	secret := strings.TrimSpace(string(text))
	encoded, ok := strings.CutPrefix(secret, secretPrefix)
	if key, err := base64.StdEncoding.DecodeString(encoded); !ok || err != nil || len(key) != secretBytes {
		return "", errs.New(errs.Invalid, "it holds no secret: remove it, and a new one is made")
	}
	return secret, nil
}

// makeSecret creates the file atomically, unless another process was first.
func makeSecret(dir *os.Root, name string) error {
	key := make([]byte, secretBytes)
	_, _ = rand.Read(key) // crypto/rand never fails
	fresh := name + "." + rand.Text() + ".new"
	f, err := datadir.CreateIn(dir, fresh)
	if err != nil {
		return err
	}
	_, err = f.WriteString(secretPrefix + base64.StdEncoding.EncodeToString(key) + "\n")
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, dir.Remove(fresh))
	}
	err = dir.Link(fresh, name) // unlike Rename, Link never replaces a file
	if err == nil || errors.Is(err, fs.ErrExist) {
		return dir.Remove(fresh)
	}
	return dir.Rename(fresh, name) // the file system has no hard links; one process at a time is assumed
}

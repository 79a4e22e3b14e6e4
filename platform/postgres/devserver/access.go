package devserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"millrace/platform/datadir"
)

// superuser is the role that created the cluster.
const superuser = "postgres"

// preparePassword reads the superuser's password. A cluster without a password file
// gets a new password: a new cluster, and one of an older version, which let everybody
// in who could reach the socket. The file is written last, so that an interrupted
// start is repeated.
func (s *Server) preparePassword(ctx context.Context, programs programs, who account) error {
	text, err := readFile(s.dir, passwordName)
	if errors.Is(err, fs.ErrNotExist) {
		text = []byte(rand.Text())
		if err = s.setPassword(ctx, programs, who, s.files.cluster, string(text)); err == nil {
			err = s.explain(datadir.WriteFileIn(s.dir, passwordName, text), "")
		}
	}
	s.password = string(text)
	return err
}

// setPassword sets the superuser's password while nobody can connect.
func (s *Server) setPassword(ctx context.Context, programs programs, who account, cluster, password string) error {
	args := []string{"--single", "-D", cluster, "-c", "password_encryption=scram-sha-256"}
	if s.cfg.NoSync {
		args = append(args, "-F")
	}
	cmd := who.command(ctx, programs, "postgres", append(args, "postgres")...)
	cmd.Stdin = strings.NewReader("ALTER ROLE " + superuser + " PASSWORD '" + password + "'\n")
	if output, err := keepingThread(cmd.CombinedOutput); err != nil {
		return s.explain(fmt.Errorf("set the password: %w: %s", err, lastLines(string(output), 3)), string(output))
	}
	return nil
}

// writeAccess writes pg_hba.conf: it requires a password from everybody. If this
// process is root, the server's user may read the file, but not change it.
func (s *Server) writeAccess(who account) error {
	rules := "local all all scram-sha-256\n"
	if s.socket == "" {
		rules = "host all all 127.0.0.1/32 scram-sha-256\n"
	}
	f, err := datadir.CreateIn(s.dir, accessName)
	if err != nil {
		return err
	}
	if who.other {
		err = f.Chmod(0o644)
	}
	if err == nil {
		_, err = f.WriteString(rules)
	}
	return errors.Join(err, f.Close())
}

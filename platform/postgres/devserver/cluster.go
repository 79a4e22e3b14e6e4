package devserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"millrace/platform/errs"
)

// superuser is the role that owns everything in a development cluster.
const superuser = "postgres"

// prepareCluster makes sure that the data folder holds a cluster that these
// programs can serve, and owns what they must own. A cluster of another major
// version is refused and never touched.
func (s *Server) prepareCluster(ctx context.Context, programs programs, who account) error {
	if err := os.Mkdir(s.files.run, 0o700); err != nil && !os.IsExist(err) {
		return s.explain(err, "")
	}
	if err := who.own(s.files.run); err != nil {
		return s.explain(err, "")
	}
	if s.socket == "" {
		if err := s.readPassword(); err != nil {
			return s.explain(err, "")
		}
	}
	major, err := clusterMajor(s.files.cluster)
	switch {
	case err != nil:
		return errs.InvalidField(s.cfg.Setting, "%s is not a data folder of PostgreSQL: %s; move it away, or choose another", s.files.cluster, err)
	case major == programs.major:
		return who.own(s.files.cluster)
	case major != 0:
		return errs.InvalidField(s.cfg.Setting, "%s was written by PostgreSQL %d, and only %d was found (%s): install PostgreSQL %d, or choose another folder. Nothing was changed",
			s.files.cluster, major, programs.major, programs.dir, major)
	}
	// What lies in the making was never used: its initdb did not end.
	if err := os.RemoveAll(s.files.making); err != nil {
		return s.explain(err, "")
	}
	if s.cfg.Template != "" {
		err = s.copyTemplate(ctx, programs, who)
	} else {
		s.cfg.Log.Info("creating a database cluster", "folder", s.files.cluster, "postgres", programs.major)
		err = s.initialise(ctx, programs, who, s.files.making)
	}
	if err != nil {
		_ = os.RemoveAll(s.files.making) // the next start does it again; the first error is the one to tell
		return err
	}
	return s.explain(os.Rename(s.files.making, s.files.cluster), "")
}

// clusterMajor returns the major version of the cluster in dir, 0 if there is
// no such folder.
func clusterMajor(dir string) (int, error) {
	text, err := os.ReadFile(filepath.Join(dir, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		if _, statErr := os.Stat(dir); errors.Is(statErr, fs.ErrNotExist) {
			return 0, nil
		}
	}
	if err != nil {
		return 0, err
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || major < 10 {
		return 0, fmt.Errorf("PG_VERSION says %q", strings.TrimSpace(string(text)))
	}
	return major, nil
}

// initialise runs initdb on dir, which does not exist.
func (s *Server) initialise(ctx context.Context, programs programs, who account, dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return s.explain(err, "")
	}
	if err := who.own(dir); err != nil {
		return s.explain(err, "")
	}
	args := []string{"-D", dir, "-U", superuser, "-E", "UTF8", "--locale=C", "--auth=trust", "--no-instructions"}
	if s.cfg.NoSync {
		args = append(args, "--no-sync")
	}
	said, err := keepingThread(who.command(ctx, programs, "initdb", args...).CombinedOutput)
	if err != nil {
		return s.explain(fmt.Errorf("initdb: %w: %s", err, lastLines(string(said), 5)), string(said))
	}
	return nil
}

// readPassword reads the password of a server on TCP, or makes one.
func (s *Server) readPassword() error {
	text, err := os.ReadFile(s.files.password)
	if errors.Is(err, fs.ErrNotExist) {
		text = []byte(rand.Text())
		err = os.WriteFile(s.files.password, text, 0o600)
	}
	s.password = string(text)
	return err
}

// copyTemplate copies an empty cluster that was made before, or makes it first.
func (s *Server) copyTemplate(ctx context.Context, programs programs, who account) error {
	if err := makeDir(s.cfg.Template); err != nil {
		return s.explain(err, "")
	}
	template := filepath.Join(s.cfg.Template, fmt.Sprintf("cluster-%s-%d", programs.version, who.uid))
	if _, err := os.Stat(template); err != nil {
		lock, err := waitLock(template + ".lock")
		if err != nil {
			return s.explain(err, "")
		}
		defer lock.Close() //nolint:errcheck // releases the lock
		if _, err := os.Stat(template); err != nil {
			making := template + ".new"
			if err := os.RemoveAll(making); err != nil {
				return s.explain(err, "")
			}
			if err := s.initialise(ctx, programs, who, making); err != nil {
				return err
			}
			if err := os.Rename(making, template); err != nil {
				return s.explain(err, "")
			}
		}
	}
	return s.explain(who.copyTree(template, s.files.making), "")
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}

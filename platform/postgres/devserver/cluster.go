package devserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"millrace/platform/datadir"
	"millrace/platform/errs"
	"millrace/platform/privatedir"
)

// prepareCluster makes sure that the data folder has a cluster that these programs can
// serve, and that the account owns it. It refuses a cluster of another major version
// and does not change it.
func (s *Server) prepareCluster(ctx context.Context, programs programs, who account) error {
	if err := s.dir.Mkdir(runName, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return s.explain(err, "")
	}
	if err := who.own(place{s.dir, runName}); err != nil {
		return s.explain(err, "")
	}
	if !who.other {
		if err := datadir.Try(s.files.run); err != nil {
			return datadir.Explain(err, s.files.run, s.cfg.Setting)
		}
	}
	major, err := clusterMajor(s.dir, who)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return s.explain(err, "")
	case err != nil:
		return errs.InvalidField(s.cfg.Setting, "%s is not a data folder of PostgreSQL: %s; move it away, or choose another", s.files.cluster, err)
	case major == programs.major:
		return s.explain(who.own(place{s.dir, clusterName}), "")
	case major != 0:
		return errs.InvalidField(s.cfg.Setting, "%s was written by PostgreSQL %d, and only %d was found (%s): install PostgreSQL %d, or choose another folder. Nothing was changed",
			s.files.cluster, major, programs.major, programs.dir, major)
	}
	if err := s.makeCluster(ctx, programs, who); err != nil {
		_ = s.dir.RemoveAll(makingName) // the next start retries; report the first error
		return err
	}
	return s.explain(s.dir.Rename(makingName, clusterName), "")
}

// makeCluster creates a cluster and writes its superuser's password to the password file.
func (s *Server) makeCluster(ctx context.Context, programs programs, who account) (err error) {
	// An unfinished cluster is left from an initdb that was interrupted: remove it.
	if err := s.dir.RemoveAll(makingName); err != nil {
		return s.explain(err, "")
	}
	password := rand.Text()
	if s.cfg.Template != "" {
		password, err = s.copyTemplate(ctx, programs, who)
	} else {
		s.cfg.Log.Info("creating a database cluster", "folder", s.files.cluster, "postgres", programs.major)
		err = s.initialise(ctx, programs, who, place{s.dir, makingName}, password)
	}
	if err != nil {
		return err
	}
	return s.explain(datadir.WriteFileIn(s.dir, passwordName, []byte(password)), "")
}

// HasCluster reports whether dir, a Config's DataDir, has a cluster, or something else
// that a start would not replace.
func HasCluster(dir string) bool {
	if info, err := os.Lstat(dir); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return true // a link: Start decides whether to follow it
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	defer root.Close() //nolint:errcheck // nothing is buffered in it
	major, err := clusterMajor(root, serverUser(root))
	return major != 0 || err != nil
}

// clusterMajor returns the major version of the cluster in dir, or 0 if there is none.
func clusterMajor(dir *os.Root, who account) (int, error) {
	cluster, err := who.openCluster(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer cluster.Close() //nolint:errcheck // nothing is buffered in it
	text, err := readFile(cluster, "PG_VERSION")
	if err != nil {
		return 0, err
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || major < 10 {
		return 0, fmt.Errorf("PG_VERSION contains %q", strings.TrimSpace(string(text)))
	}
	return major, nil
}

// initialise creates a cluster for the account in a folder that does not exist yet.
func (s *Server) initialise(ctx context.Context, programs programs, who account, at place, password string) error {
	output, err := s.initdb(ctx, programs, who, at, password)
	if err != nil && who.other && strings.Contains(output, noEntry) {
		// The data folder's owner has no entry in the user database, as with a folder
		// mounted into a container. Only initdb needs the entry. So root lets another user
		// create the cluster, in a temporary folder because that user may not reach dir.
		home, tempErr := privatedir.Temp("", "millrace-initdb-")
		if tempErr != nil {
			return s.explain(tempErr, "")
		}
		defer os.RemoveAll(home) //nolint:errcheck // a temporary folder; the system may delete it
		elsewhere, openErr := os.OpenRoot(home)
		if openErr != nil {
			return s.explain(openErr, "")
		}
		defer elsewhere.Close() //nolint:errcheck // nothing is buffered in it
		made := place{elsewhere, clusterName}
		if output, err = s.initdb(ctx, programs, anybody(), made, password); err == nil {
			err = errors.Join(at.dir.RemoveAll(at.name), who.copyTree(made, at))
		}
	}
	return s.explain(err, output)
}

// initdb runs initdb as the account, sets the superuser's password, and returns initdb's
// output. Until writeAccess has run, the cluster refuses all connections.
func (s *Server) initdb(ctx context.Context, programs programs, who account, at place, password string) (output string, err error) {
	made, err := at.make()
	if err != nil {
		return "", err
	}
	defer made.Close() //nolint:errcheck // nothing is buffered in it
	if err := who.give(made, "."); err != nil {
		return "", err
	}
	args := []string{"-D", at.path(), "-U", superuser, "-E", "UTF8", "--locale=C", "--auth=reject", "--no-instructions"}
	if s.cfg.NoSync {
		args = append(args, "--no-sync")
	}
	printed, err := keepingThread(who.command(ctx, programs, "initdb", args...).CombinedOutput)
	if err != nil {
		return string(printed), fmt.Errorf("initdb: %w: %s", err, lastLines(string(printed), 5))
	}
	return string(printed), s.setPassword(ctx, programs, who, at.path(), password)
}

// noEntry is initdb's message for a user without an entry in the user database.
const noEntry = "could not look up effective user ID"

// copyTemplate copies an empty cluster from the template folder, after creating it there
// if necessary, and returns its superuser's password.
func (s *Server) copyTemplate(ctx context.Context, programs programs, who account) (password string, err error) {
	templates, err := datadir.OpenAny(s.cfg.Template, 0o700)
	if err != nil {
		return "", s.explain(err, "")
	}
	defer templates.Close() //nolint:errcheck // nothing is buffered in it
	template := place{templates, fmt.Sprintf("scram-%s-%d", programs.version, who.uid)}
	if _, err := templates.Lstat(template.name); err != nil {
		if err := s.makeTemplate(ctx, programs, who, template); err != nil {
			return "", err
		}
	}
	text, err := readFile(templates, template.name+".password")
	if err == nil {
		err = who.copyTree(template, place{s.dir, makingName})
	}
	return string(text), s.explain(err, "")
}

// makeTemplate creates the template, unless another process has just created it.
func (s *Server) makeTemplate(ctx context.Context, programs programs, who account, template place) error {
	lock, err := waitLock(template.dir, template.name+".lock")
	if err != nil {
		return s.explain(err, "")
	}
	defer unlock(lock) //nolint:errcheck // nothing is buffered in it
	if _, err := template.dir.Lstat(template.name); err == nil {
		return nil
	}
	making, password := place{template.dir, template.name + ".new"}, rand.Text()
	if err := template.dir.RemoveAll(making.name); err != nil {
		return s.explain(err, "")
	}
	if err := s.initialise(ctx, programs, who, making, password); err != nil {
		return err
	}
	if err := datadir.WriteFileIn(template.dir, template.name+".password", []byte(password)); err != nil {
		return s.explain(err, "")
	}
	return s.explain(template.dir.Rename(making.name, template.name), "")
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}

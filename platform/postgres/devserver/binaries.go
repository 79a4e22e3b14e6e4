package devserver

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"

	"millrace/platform/errs"
)

// Binaries says where PostgreSQL's programs come from.
type Binaries struct {
	// Dir is a folder with initdb and postgres; only it is looked at. Empty:
	// PATH, then the usual places of distributions and installers, then
	// downloads.
	Dir string

	// Search replaces PATH and the usual places; patterns as filepath.Glob has
	// them. For tests.
	Search []string

	// Repository is a Maven repository that has io.zonky.test.postgres.
	// Default https://repo1.maven.org/maven2; "off" downloads nothing.
	Repository string

	// Major is the version that is downloaded for a new cluster. Default 17.
	Major int

	// Cache is where downloads are kept. Default: DataDir/postgresql.
	Cache string
}

// programs is a folder with initdb and postgres of one version.
type programs struct {
	dir     string
	version string // as "15.19"
	major   int
}

// usualPlaces are where distributions and installers put the programs, outside PATH.
var usualPlaces = []string{
	"/usr/lib/postgresql/*/bin", // Debian, Ubuntu, Alpine
	"/usr/pgsql-*/bin",          // the project's own RPMs
	"/usr/lib64/pgsql/bin",
	"/usr/local/pgsql/bin", // built from source
	"/usr/local/bin",
	"/opt/homebrew/opt/postgresql*/bin",
	"/usr/local/opt/postgresql*/bin",
	"/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
	"/Library/PostgreSQL/*/bin",
	"/opt/local/lib/postgresql*/bin", // MacPorts
	`C:\Program Files\PostgreSQL\*\bin`,
}

const oldestMajor = 13 // older servers lack DROP DATABASE … WITH (FORCE)

// find returns the programs to use: those of the cluster's own major version if
// they are installed, else the newest.
func (b Binaries) find(ctx context.Context, files layout, who account, log *slog.Logger) (programs, error) {
	wanted, err := clusterMajor(files.cluster)
	if err != nil {
		wanted = 0 // prepareCluster tells
	}
	installed := b.installed(ctx, who, log)
	for _, p := range installed {
		if p.major == wanted || wanted == 0 {
			return p, nil
		}
	}
	if b.Dir != "" {
		if len(installed) == 0 {
			return programs{}, errs.InvalidField("Binaries.Dir", "%s has no initdb and postgres of version %d or newer that can be run", b.Dir, oldestMajor)
		}
		return installed[0], nil
	}
	got, err := b.download(ctx, wanted, files, who, log)
	if err == nil {
		return got, nil
	}
	if len(installed) > 0 { // of another version than the cluster: prepareCluster refuses it and says both
		return installed[0], nil
	}
	return programs{}, errs.New(errs.Resource, "no PostgreSQL was found on this machine, and it could not be downloaded (%w): "+
		"install PostgreSQL (%s), or set DATABASE_URL to a server", err, howToInstall())
}

func howToInstall() string {
	switch runtime.GOOS {
	case "darwin":
		return "brew install postgresql"
	case "windows":
		return "winget install PostgreSQL.PostgreSQL"
	}
	return "apt-get install postgresql, or what your distribution calls it"
}

// installed lists the usable programs on this machine, the newest first.
func (b Binaries) installed(ctx context.Context, who account, log *slog.Logger) []programs {
	patterns := b.Search
	switch {
	case b.Dir != "":
		patterns = []string{b.Dir}
	case patterns == nil:
		patterns = append(filepath.SplitList(os.Getenv("PATH")), usualPlaces...)
	}
	var found []programs
	seen := map[string]bool{}
	for _, pattern := range patterns {
		dirs, err := filepath.Glob(pattern)
		if err != nil {
			continue // a folder of PATH with a bracket in its name
		}
		for _, dir := range dirs {
			real, err := realDir(dir)
			if err != nil || seen[real] {
				continue
			}
			seen[real] = true
			p, err := inspect(ctx, real, who)
			if err != nil {
				log.Debug("not using the PostgreSQL in a folder", "folder", real, "error", err)
				continue
			}
			if p.major >= oldestMajor {
				found = append(found, p)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b programs) int { return cmp.Compare(b.major, a.major) })
	return found
}

// realDir follows postgres itself, which may be a link from a folder of PATH;
// the server looks for its libraries beside the real one.
func realDir(dir string) (string, error) {
	name := "postgres"
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(filepath.Join(dir, name))
	return filepath.Dir(real), err
}

var versionText = regexp.MustCompile(`\(PostgreSQL\) ((\d+)[^\s]*)`)

// inspect asks the programs in dir for their version, as the account that will
// run them.
func inspect(ctx context.Context, dir string, who account) (programs, error) {
	if err := who.canReach(dir, "PATH"); err != nil {
		return programs{}, err
	}
	p := programs{dir: dir}
	for _, name := range []string{"initdb", "postgres"} {
		said, err := keepingThread(who.command(ctx, p, name, "--version").Output)
		if err != nil {
			return programs{}, fmt.Errorf("%s --version: %w", name, err)
		}
		match := versionText.FindSubmatch(said)
		if match == nil {
			return programs{}, fmt.Errorf("%s --version says %q", name, said)
		}
		p.version = string(match[1])
		if p.major, err = strconv.Atoi(string(match[2])); err != nil {
			return programs{}, err
		}
	}
	return p, nil
}

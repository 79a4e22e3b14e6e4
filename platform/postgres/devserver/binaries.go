package devserver

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"millrace/platform/errs"
)

// Binaries is where to find PostgreSQL's programs.
type Binaries struct {
	// Dir is a folder with initdb and postgres. If it is set, no other place is searched.
	// If it is empty: PATH, then the usual folders of distributions and installers, then
	// downloads.
	Dir string

	// Search replaces PATH and the usual folders by patterns of filepath.Glob. For tests.
	Search []string

	// Repository is the https:// URL of a Maven repository with io.zonky.test.postgres. An
	// archive is used only if its SHA-256 is pinned in this package.
	// Default https://repo1.maven.org/maven2; "off" disables downloads.
	Repository string

	// Major is the major version to download for a new cluster. Default 17.
	Major int

	// Cache is the folder for downloads. Default: DataDir/postgresql.
	Cache string

	sums      string            // in tests, replaces pinned
	transport http.RoundTripper // in tests, replaces the network
}

// programs is a folder with initdb and postgres of one version.
type programs struct {
	dir     string
	version string // for example "15.19"
	major   int
}

// usualPlaces are the programs' usual folders outside PATH.
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

// find returns the programs to use: those of the cluster's major version if they are
// installed, otherwise the newest.
func (b Binaries) find(ctx context.Context, dir *os.Root, setting string, who account, log *slog.Logger) (programs, error) {
	wanted, err := clusterMajor(dir, who)
	if err != nil {
		wanted = 0 // prepareCluster reports the error
	}
	installed := b.installed(ctx, who, log)
	if ctx.Err() != nil { // the search may be incomplete
		return programs{}, errs.As(errs.Shutdown, ctx.Err())
	}
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
	cluster := filepath.Join(dir.Name(), clusterName)
	if wanted != 0 {
		log.Info("the data folder needs a PostgreSQL that is not installed", "folder", cluster, "needed", wanted, "installed", versions(installed))
	}
	got, err := b.download(ctx, wanted, dir, who, log)
	switch {
	case err == nil:
		return got, nil
	case ctx.Err() != nil:
		return programs{}, errs.As(errs.Shutdown, ctx.Err())
	}
	if wanted != 0 {
		return programs{}, errs.InvalidField(setting, "%s was written by PostgreSQL %d. Installed here: %s; and PostgreSQL %d could not be downloaded (%s). "+
			"Install PostgreSQL %d (%s), or choose another folder. Nothing was changed", cluster, wanted, versions(installed), wanted, err, wanted, howToInstall())
	}
	return programs{}, errs.New(errs.Resource, "no PostgreSQL was found on this machine, and it could not be downloaded (%w): "+
		"install PostgreSQL (%s), or set DATABASE_URL to a server", err, howToInstall())
}

// versions lists the installed versions for an error message.
func versions(installed []programs) string {
	if len(installed) == 0 {
		return "none"
	}
	all := make([]string, len(installed))
	for i, p := range installed {
		all[i] = p.version + " in " + p.dir
	}
	return strings.Join(all, ", ")
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
			continue // an invalid pattern: a folder of PATH with a bracket in its name
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

// realDir returns the folder of the real postgres program. In PATH it may be a symbolic
// link, but the server looks for its libraries relative to the real one.
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

// inspect asks the programs in dir for their version. It runs them as the account that
// will run the server.
func inspect(ctx context.Context, dir string, who account) (programs, error) {
	if err := who.canReach(dir, "PATH"); err != nil {
		return programs{}, err
	}
	p := programs{dir: dir}
	for _, name := range []string{"initdb", "postgres"} {
		output, err := keepingThread(who.command(ctx, p, name, "--version").Output)
		if err != nil {
			return programs{}, fmt.Errorf("%s --version: %w", name, err)
		}
		match := versionText.FindSubmatch(output)
		if match == nil {
			return programs{}, fmt.Errorf("%s --version printed %q", name, output)
		}
		p.version = string(match[1])
		if p.major, err = strconv.Atoi(string(match[2])); err != nil {
			return programs{}, err
		}
	}
	return p, nil
}

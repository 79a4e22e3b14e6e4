package broker

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"millrace/platform/privatedir"
)

// Version is the version of Apache Kafka.
const Version = "4.3.0"

// plugin is pinned: otherwise Maven uses the newest version.
const plugin = "org.apache.maven.plugins:maven-dependency-plugin:2.8:copy-dependencies"

var (
	//go:embed pom.min.xml
	pom []byte
	//go:embed jars.sha256
	sums []byte
)

// home is an installed Kafka.
type home struct {
	dir       string
	java      string // path of the executable
	classpath string // in the order of jars.sha256: the archive is valid only for the same class path
	archive   string // of class data sharing; may not exist
}

var installed struct {
	sync.Mutex
	home *home
}

// install returns the installed Kafka, and fetches it if needed. After an error, the
// next call tries again.
func install(ctx context.Context) (*home, error) {
	installed.Lock()
	defer installed.Unlock()
	if installed.home != nil {
		return installed.home, nil
	}
	java, version, err := findJava(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := privatedir.Cache("kafka-" + Version)
	if err != nil {
		return nil, fmt.Errorf("broker: no folder to keep Kafka's jars in: %w", err)
	}
	h, err := installIn(ctx, dir, java, version)
	if err != nil {
		return nil, err
	}
	installed.home = h
	return h, nil
}

func installIn(ctx context.Context, dir, java, version string) (*home, error) {
	dir, err := privatedir.Make(dir)
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	unlock, err := lock(ctx, dir+".lock")
	if err != nil {
		return nil, fmt.Errorf("broker: wait for %s.lock: %w", dir, err)
	}
	defer unlock()
	h := &home{dir: dir, java: java}
	jars := filepath.Join(dir, "jars")
	if verify(jars, sums) != nil {
		if err := fetch(ctx, jars); err != nil {
			return nil, err
		}
	}
	var list []string
	for _, sum := range listed(sums) {
		list = append(list, filepath.Join(jars, sum.name))
	}
	h.classpath = strings.Join(list, string(os.PathListSeparator))
	// Each version of Java and each class path have their own archive.
	of := sha256.Sum256([]byte(java + version + h.classpath))
	h.archive = filepath.Join(dir, "classes-"+hex.EncodeToString(of[:4])+".jsa")
	if _, err := os.Stat(h.archive); err != nil {
		h.makeArchive(ctx)
	}
	return h, nil
}

// fetch downloads the jars of pom.min.xml with Maven, verifies them, and renames them into place.
func fetch(ctx context.Context, jars string) error {
	maven, err := exec.LookPath("mvn")
	if err != nil {
		return errors.New("broker: Kafka's jars are fetched with Maven, and there is no mvn in PATH: " +
			"install it (apt-get install maven, brew install maven, winget install Apache.Maven) and try again")
	}
	made, err := os.MkdirTemp(filepath.Dir(jars), "fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(made) //nolint:errcheck // a leftover does no harm
	project := filepath.Join(made, "pom.xml")
	if err := os.WriteFile(project, pom, 0o644); err != nil {
		return err
	}
	fresh := filepath.Join(made, "jars")
	cmd := exec.CommandContext(ctx, maven, "-B", "-q", "-f", project, plugin, "-DincludeScope=runtime", "-DoutputDirectory="+fresh)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("broker: mvn could not fetch Kafka %s: %w\n%s", Version, err, tail(out, 30))
	}
	if err := verify(fresh, sums); err != nil {
		return fmt.Errorf("broker: what Maven fetched does not match jars.sha256: %w", err)
	}
	if err := os.RemoveAll(jars); err != nil {
		return err
	}
	return os.Rename(fresh, jars)
}

type sum struct{ hash, name string }

// listed parses the output format of sha256sum.
func listed(text []byte) (found []sum) {
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if hash, name, ok := strings.Cut(lines.Text(), "  "); ok {
			found = append(found, sum{hash, name})
		}
	}
	return found
}

// verify returns an error unless the folder has exactly the listed files with their sums.
func verify(dir string, text []byte) error {
	want := listed(text)
	for _, one := range want {
		f, err := os.Open(filepath.Join(dir, one.name))
		if err != nil {
			return err
		}
		hash := sha256.New()
		_, err = io.Copy(hash, f)
		f.Close()
		if err != nil {
			return err
		}
		if got := hex.EncodeToString(hash.Sum(nil)); got != one.hash {
			return fmt.Errorf("%s has the sum %s, not %s", one.name, got, one.hash)
		}
	}
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) != len(want) {
		err = fmt.Errorf("%s has %d files, not %d", dir, len(entries), len(want))
	}
	return err
}

var javaVersion = regexp.MustCompile(`version "(\d+)`)

// findJava returns the path of the java executable and its full version text.
func findJava(ctx context.Context) (java, version string, err error) {
	const install = "install it (apt-get install openjdk-17-jre-headless, brew install openjdk@17, winget install EclipseAdoptium.Temurin.17.JRE)" +
		" and put it in PATH or set JAVA_HOME"
	name := "java"
	if at := os.Getenv("JAVA_HOME"); at != "" {
		name = filepath.Join(at, "bin", "java")
	}
	java, err = exec.LookPath(name)
	if err != nil {
		return "", "", fmt.Errorf("broker: Kafka needs Java 17 or newer, and there is no %s: %s", name, install)
	}
	out, err := exec.CommandContext(ctx, java, "-version").CombinedOutput()
	found := javaVersion.FindSubmatch(out)
	if err != nil || found == nil {
		return "", "", fmt.Errorf("broker: %s -version does not work: %v\n%s\n%s", java, err, out, install)
	}
	if major, err := strconv.Atoi(string(found[1])); err != nil || major < 17 {
		return "", "", fmt.Errorf("broker: Kafka needs Java 17 or newer, %s is %s: %s", java, found[1], install)
	}
	return java, string(out), nil
}

// lock waits for an exclusive lock on the file. If this process dies, the system
// releases the lock.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	err = poll(ctx, 50*time.Millisecond, func() (bool, error) { return tryLock(f) })
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { release(f); f.Close() }, nil
}

// poll calls ask until it returns true or an error, or the context ends.
func poll(ctx context.Context, every time.Duration, ask func() (bool, error)) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		if ok, err := ask(); ok || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tail returns the last lines of a text.
func tail(text []byte, lines int) string {
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

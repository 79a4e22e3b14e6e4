package licenses_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/licensecheck"
	"github.com/stretchr/testify/require"
)

// module is a module with packages in the program.
type module struct {
	path, version string
	files         map[string]string // licence and notice files, by their path inside the module
}

// licenceFile matches names of licence files; noticeFile, of files that must accompany them.
var (
	licenceFile = regexp.MustCompile(`^(?i)(licen[sc]es?|copying|unlicen[sc]e)([.-].*)?$`)
	noticeFile  = regexp.MustCompile(`^(?i)(notice|copyright|authors|patents)(\.(txt|md))?$`)
)

// allowList has the SPDX names of the permitted licences. They require that their
// texts are distributed (THIRD_PARTY_NOTICES.txt). MPL-2.0 also requires the sources
// of its own files: these are unmodified and available at the module's address.
var allowList = []string{"MIT", "ISC", "BSD-2-Clause", "BSD-2-Clause-Views", "BSD-3-Clause", "Apache-2.0", "MPL-2.0", "Unlicense"}

// judged has licence files that licensecheck does not recognize, and the words in
// them for which they are permitted.
var judged = map[string]string{
	"github.com/xi2/xz/LICENSE": "public domain",
}

// allowed returns an error for each licence that is not in the allow-list or not recognized.
func (m module) allowed() error {
	var faults []error
	found := false
	for _, name := range slices.Sorted(maps.Keys(m.files)) {
		if !licenceFile.MatchString(filepath.Base(name)) {
			continue
		}
		found = true
		if words := judged[m.path+"/"+name]; words != "" && strings.Contains(m.files[name], words) {
			continue
		}
		ids, known := identify(m.files[name])
		for _, id := range ids {
			if !slices.Contains(allowList, id) {
				faults = append(faults, fmt.Errorf("%s: %s is not in the allow-list: leave the module out, or have the licence judged", name, id))
			}
		}
		if !known {
			faults = append(faults, fmt.Errorf("%s is not known as a licence: read it, and note the judgement", name))
		}
	}
	if !found {
		faults = append(faults, errors.New("has no licence, so nobody may use it"))
	}
	return errors.Join(faults...)
}

// identify returns the licences in a text, and whether they cover most of it.
func identify(text string) (ids []string, known bool) {
	cover := licensecheck.Scan([]byte(text))
	for _, match := range cover.Match {
		if !match.IsURL && !slices.Contains(ids, match.ID) {
			ids = append(ids, match.ID)
		}
	}
	return ids, cover.Percent >= 75 && len(ids) > 0
}

// linked lists the modules with linked packages, and their licence and notice files.
func linked(t *testing.T) []module {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=Dir,Standard,Module", "./cmd/millrace")
	list.Dir = "../.."
	list.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0", "GOPROXY=off")
	list.Stderr = os.Stderr
	out, err := list.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, list.Start())
	found := map[string]module{}
	for decoder := json.NewDecoder(out); ; {
		var p struct {
			Dir      string
			Standard bool
			Module   *struct {
				Path, Version, Dir string
				Main               bool
				Replace            *struct{ Path string }
			}
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			require.NoError(t, err)
		}
		if p.Standard || p.Module == nil || p.Module.Main {
			continue
		}
		require.Nil(t, p.Module.Replace, "%s is replaced: look at the licence of what stands for it", p.Module.Path)
		m, ok := found[p.Module.Path]
		if !ok {
			m = module{p.Module.Path, p.Module.Version, map[string]string{}}
			found[p.Module.Path] = m
		}
		collect(t, m, p.Module.Dir, p.Dir)
	}
	require.NoError(t, list.Wait())
	return slices.SortedFunc(maps.Values(found), func(a, b module) int { return cmp.Compare(a.path, b.path) })
}

// collect reads the licence and notice files in a package's folder and in its parents up to the module's root.
func collect(t *testing.T, m module, root, dir string) {
	t.Helper()
	for {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range entries {
			if e.IsDir() || !licenceFile.MatchString(e.Name()) && !noticeFile.MatchString(e.Name()) || strings.HasSuffix(e.Name(), ".go") {
				continue
			}
			text, err := os.ReadFile(filepath.Join(dir, e.Name()))
			require.NoError(t, err)
			name, err := filepath.Rel(root, filepath.Join(dir, e.Name()))
			require.NoError(t, err)
			m.files[filepath.ToSlash(name)] = strings.ReplaceAll(string(text), "\r\n", "\n")
		}
		if dir == root {
			return
		}
		dir = filepath.Dir(dir)
	}
}

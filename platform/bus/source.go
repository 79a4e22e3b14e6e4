package bus

import (
	"fmt"
	"path"
	"path/filepath"
	"runtime"
)

// sourceOfCaller returns the file and line from which On, Handle or OnEvery was
// called, as "modules/delivery/module.go:41": the last three elements of the path of
// the build, which in this repository is the path from its root.
func sourceOfCaller() string {
	_, file, line, ok := runtime.Caller(2)
	if !ok {
		return ""
	}
	file = filepath.ToSlash(file)
	dir := path.Dir(file)
	return fmt.Sprintf("%s:%d", path.Join(path.Base(path.Dir(dir)), path.Base(dir), path.Base(file)), line)
}

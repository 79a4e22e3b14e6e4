package bus

import (
	"fmt"
	"path"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
)

// sourceOf returns a function that tells the file and line of handler, as
// "modules/delivery/handlers.go:12". It looks when asked: only `trace` asks.
//
// For a method value (m.handle) the runtime knows only the wrapper that the
// compiler made, which has no file. The method itself lies in the same
// package's code, so it is looked for by its name around the wrapper.
func sourceOf(handler any) func() string {
	return sync.OnceValue(func() string {
		pc := reflect.ValueOf(handler).Pointer()
		fn := runtime.FuncForPC(pc)
		name, wrapped := strings.CutSuffix(fn.Name(), "-fm")
		if !wrapped {
			return position(fn)
		}
		const alignment, reach = 16, 8 << 20 // functions start at multiples of 16 bytes at least
		for distance := uintptr(0); distance < reach; distance += alignment {
			for _, at := range [2]uintptr{pc - distance, pc + distance} {
				if f := runtime.FuncForPC(at); f != nil && f.Name() == name {
					return position(f)
				}
			}
		}
		return name
	})
}

// position shortens a path of the build to its last three elements, which in
// this repository is the path from its root.
func position(f *runtime.Func) string {
	file, line := f.FileLine(f.Entry())
	file = filepath.ToSlash(file)
	dir := path.Dir(file)
	return fmt.Sprintf("%s:%d", path.Join(path.Base(path.Dir(dir)), path.Base(dir), path.Base(file)), line)
}

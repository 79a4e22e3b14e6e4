package web

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"millrace/platform/text"
)

const (
	maxFindings   = 20 // in one answer; further ones are only counted
	maxName       = 64 // characters shown of an unknown name
	maxDepthShown = 8  // names shown in one location
)

// findings are the faults in the input of one request. All are counted, but
// only maxFindings are kept, so that an input with very many faults costs no
// more than one with few.
type findings struct {
	list []*huma.ErrorDetail
	more int
}

type findingsKey struct{}

// findingsFrom returns the request's findings, or nil.
func findingsFrom(ctx context.Context) *findings {
	found, _ := ctx.Value(findingsKey{}).(*findings)
	return found
}

func (f *findings) add(location, format string, args ...any) {
	if f.full() {
		f.more++
		return
	}
	f.list = append(f.list, &huma.ErrorDetail{Location: location, Message: fmt.Sprintf(format, args...)})
}

// full reports whether further findings are only counted.
func (f *findings) full() bool { return len(f.list) == maxFindings }

// empty reports whether there are no findings.
func (f *findings) empty() bool { return f == nil || len(f.list) == 0 }

// into puts the findings before those of the problem. Of two findings about one
// location the first stays, because the findings here are the cause.
func (f *findings) into(problem *huma.ErrorModel) {
	all := &findings{}
	if f != nil {
		all.list, all.more = append(all.list, f.list...), f.more
	}
	found := map[string]bool{}
	for _, e := range all.list {
		found[e.Location] = true
	}
	for _, e := range problem.Errors {
		switch {
		case e == nil || found[e.Location]:
		case all.full():
			all.more++
		default:
			all.list = append(all.list, e)
		}
	}
	problem.Errors = all.list
	if all.more > 0 {
		problem.Detail += fmt.Sprintf("; the first %d are shown, and %d more were found", maxFindings, all.more)
	}
}

// shownName returns an unknown name in a form that can be shown: short, with
// invisible characters escaped.
func shownName(name string) string {
	quoted := strconv.Quote(text.Cut(name, maxName))
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

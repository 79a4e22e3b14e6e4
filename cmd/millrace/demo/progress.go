package demo

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// progress shows how far something is: a bar on a terminal, else a line now
// and then.
type progress interface {
	Add(n int)
	Set(n int)
	Note(text string)                 // what is happening now
	Print(format string, args ...any) // a line of its own
	Done()
}

// newProgress shows total units of something on out.
func newProgress(out io.Writer, what string, total int) progress {
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		b := &bar{}
		b.all = mpb.New(mpb.WithOutput(out), mpb.WithWidth(48))
		b.one = b.all.AddBar(int64(total),
			mpb.PrependDecorators(decor.Name(what+" "), decor.CountersNoUnit("%d / %d", decor.WCSyncSpace)),
			mpb.AppendDecorators(decor.Percentage(decor.WCSyncSpace), decor.Name("  "), decor.Elapsed(decor.ET_STYLE_GO), decor.Any(func(decor.Statistics) string {
				b.mu.Lock()
				defer b.mu.Unlock()
				return "  " + b.note
			})))
		return b
	}
	return &lines{out: out, what: what, total: total, began: time.Now(), last: time.Now()}
}

type bar struct {
	all  *mpb.Progress
	one  *mpb.Bar
	mu   sync.Mutex
	note string
}

func (b *bar) Add(n int) { b.one.IncrBy(n) }
func (b *bar) Set(n int) { b.one.SetCurrent(int64(n)) }
func (b *bar) Note(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.note = text
}
func (b *bar) Print(format string, args ...any) {
	_, _ = fmt.Fprintf(b.all, format+"\n", args...) // above the bar; what cannot be printed cannot be told either
}
func (b *bar) Done() {
	if !b.one.Completed() {
		b.one.Abort(false)
	}
	b.all.Wait()
}

// lines is for logs: a line every few seconds, and one for each note.
type lines struct {
	out   io.Writer
	what  string
	total int

	mu          sync.Mutex
	n           int
	note        string
	began, last time.Time
}

const lineEvery = 3 * time.Second

func (l *lines) Add(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.set(l.n + n)
}

func (l *lines) Set(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.set(n)
}

func (l *lines) set(n int) {
	l.n = n
	if time.Since(l.last) >= lineEvery {
		l.print()
	}
}

func (l *lines) print() {
	l.last = time.Now()
	fmt.Fprintf(l.out, "%s %d / %d after %.1f s  %s\n", l.what, l.n, l.total, time.Since(l.began).Seconds(), l.note)
}

func (l *lines) Note(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.note = text
}

func (l *lines) Print(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.out, format+"\n", args...)
}

func (l *lines) Done() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.print()
}

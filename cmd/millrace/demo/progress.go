package demo

import (
	"io"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"millrace/cmd/millrace/terminal"
)

// progress shows how far a task is: a bar on a terminal, otherwise a line now and
// then.
type progress interface {
	Add(n int)
	Set(n int)
	Note(text string)                 // the current activity
	Print(format string, args ...any) // a separate line
	Done()
}

// newProgress shows the progress of a task with total units on out.
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
	return &lines{out: terminal.New(out), what: what, total: total, began: time.Now(), last: time.Now()}
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
	b.note = terminal.Sprintf("%s", text)
}
func (b *bar) Print(format string, args ...any) {
	_, _ = b.all.Write([]byte(terminal.Sprintf(format+"\n", args...))) // above the bar; a failed write does not matter, because progress is not a result
}
func (b *bar) Done() {
	if !b.one.Completed() {
		b.one.Abort(false)
	}
	b.all.Wait()
}

// lines is progress for logs: a line every few seconds, and one for each note.
type lines struct {
	out   *terminal.Printer
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
	l.out.Printf("%s %d / %d after %.1f s  %s\n", l.what, l.n, l.total, time.Since(l.began).Seconds(), l.note)
}

func (l *lines) Note(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.note = text
}

func (l *lines) Print(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out.Printf(format+"\n", args...)
}

func (l *lines) Done() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.print()
}

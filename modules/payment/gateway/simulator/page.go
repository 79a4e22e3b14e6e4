package simulator

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
	"slices"
)

//go:embed page.html
var pageSource string

var pageTemplate = template.Must(template.New("page").Parse(pageSource))

// page serves the book as HTML: the newest charges first, at most 200.
func (s *Simulator) page(w http.ResponseWriter, _ *http.Request) {
	const newest = 200
	book := s.Book()
	total := len(book.Charges)
	slices.Reverse(book.Charges)
	book.Charges = book.Charges[:min(total, newest)]
	var out bytes.Buffer
	if err := pageTemplate.Execute(&out, map[string]any{"Book": book, "Total": total}); err != nil {
		s.cfg.Log.Error("the gateway simulator's page", "error", err)
		http.Error(w, "the page cannot be shown; see the log", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'")
	_, _ = w.Write(out.Bytes()) // an error means that the client is gone
}

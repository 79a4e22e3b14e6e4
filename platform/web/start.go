package web

import (
	"bytes"
	"fmt"
	"html/template"
	"net/http"
)

// Link is one line of the start page.
type Link struct {
	Href    string // a path of this server, or a whole address
	Name    string // what is shown as the link
	Korean  string // what is there, in one line
	English string
}

// StartPage serves the page at /, which says what this program is and links to
// everything that it serves. It is made once, here.
func StartPage(mux *http.ServeMux, version string, modules []string, links []Link) error {
	page, err := template.ParseFS(assets, "assets/start.html")
	if err != nil {
		return fmt.Errorf("start page: %w", err)
	}
	var body bytes.Buffer
	if err := page.Execute(&body, map[string]any{"Version": version, "Modules": modules, "Links": links}); err != nil {
		return fmt.Errorf("start page: %w", err)
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(body.Bytes()) // the reader left: nobody to tell
	})
	mux.HandleFunc("GET /start.css", asset("assets/start.css", "text/css; charset=utf-8"))
	return nil
}

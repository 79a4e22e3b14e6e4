package web

import (
	"bytes"
	"fmt"
	"html/template"
	"net/http"
)

// Link is one line of the start page.
type Link struct {
	Href    string // a path of this server, or a complete URL
	Name    string // the link's text
	Korean  string // a description of one line
	English string
}

// StartPage serves the page at /, which describes the program and links to
// everything that it serves. The page is rendered once, here.
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
		_, _ = w.Write(body.Bytes()) // the client has disconnected
	})
	mux.HandleFunc("GET /start.css", asset("assets/start.css", "text/css; charset=utf-8"))
	return nil
}

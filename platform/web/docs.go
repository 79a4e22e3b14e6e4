package web

import (
	"embed"
	"net/http"

	"github.com/swaggest/swgui/v5emb"
)

//go:embed assets
var assets embed.FS

// serveDocs serves Swagger UI at /docs. Its program and style are embedded by
// swgui; the page and the script that starts it are ours, because swgui's page
// has its script inline, which the content security policy refuses.
func serveDocs(mux *http.ServeMux) {
	mux.HandleFunc("GET /docs", asset("assets/docs.html", "text/html; charset=utf-8"))
	mux.HandleFunc("GET /docs/start.js", asset("assets/docs.js", "text/javascript; charset=utf-8"))
	mux.Handle("GET /docs/", v5emb.New("Millrace", "/openapi.json", "/docs/"))
	mux.Handle("GET /docs/{$}", http.RedirectHandler("/docs", http.StatusMovedPermanently))
}

// asset serves one embedded file. A name that is not there is a mistake of ours
// that the first test meets.
func asset(name, contentType string) http.HandlerFunc {
	body, err := assets.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(body) // the reader left: nobody to tell
	}
}

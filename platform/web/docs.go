package web

import (
	"embed"
	"net/http"

	"github.com/swaggest/swgui/v5emb"
)

//go:embed assets
var assets embed.FS

// serveDocs serves Swagger UI at /docs. swgui embeds its program and style. The
// page and its start script are ours, because swgui's page has an inline
// script, which the content security policy blocks.
func serveDocs(mux *http.ServeMux) {
	mux.HandleFunc("GET /docs", asset("assets/docs.html", "text/html; charset=utf-8"))
	mux.HandleFunc("GET /docs/start.js", asset("assets/docs.js", "text/javascript; charset=utf-8"))
	mux.Handle("GET /docs/", v5emb.New("Millrace", "/openapi.json", "/docs/"))
	mux.Handle("GET /docs/{$}", http.RedirectHandler("/docs", http.StatusMovedPermanently))
}

// asset serves one embedded file. It panics if the file is missing, which every
// test finds.
func asset(name, contentType string) http.HandlerFunc {
	body, err := assets.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(body) // the client has disconnected
	}
}

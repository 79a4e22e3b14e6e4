package devinbox

import (
	"embed"
	"encoding/json"
	"html/template"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
)

//go:embed assets
var assets embed.FS

var pages = template.Must(template.ParseFS(assets, "assets/*.html"))

// The pages load their own style sheet and their own frames, and nothing else.
const (
	pagePolicy = "default-src 'none'; style-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
	mailPolicy = "sandbox; default-src 'none'; frame-ancestors 'self'"
	listed     = 200 // mails on the first page
)

// Handler serves the pages. Its links are relative: mount it with
// http.StripPrefix under any path that ends in a slash.
//
//	GET /                     the newest 200 mails
//	GET /messages/{seq}       one mail
//	GET /messages/{seq}/html  its HTML, for the frame
//	GET /messages.json        {"total", "messages": [...]}, oldest first; ?after=SEQ omits SEQ and older ones
func (i *Inbox) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", i.list)
	mux.HandleFunc("GET /messages/{seq}", i.show)
	mux.HandleFunc("GET /messages/{seq}/html", i.html)
	mux.HandleFunc("GET /messages.json", i.json)
	mux.HandleFunc("GET /style.css", func(w http.ResponseWriter, _ *http.Request) {
		style, _ := fs.ReadFile(assets, "assets/style.css") // embedded
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		_, _ = w.Write(style) // the client has disconnected
	})
	return mux
}

func (i *Inbox) list(w http.ResponseWriter, _ *http.Request) {
	kept := i.Messages()
	slices.Reverse(kept)
	render(w, "list.html", map[string]any{"Total": i.Total(), "Messages": kept[:min(listed, len(kept))]})
}

func (i *Inbox) show(w http.ResponseWriter, r *http.Request) {
	m, found := i.named(r)
	if !found {
		http.Error(w, "no such mail; perhaps it is no longer kept", http.StatusNotFound)
		return
	}
	text, html := m.Bodies()
	render(w, "message.html", map[string]any{"Message": m, "Text": text, "HasHTML": html != ""})
}

func (i *Inbox) html(w http.ResponseWriter, r *http.Request) {
	m, found := i.named(r)
	if !found {
		http.Error(w, "no such mail; perhaps it is no longer kept", http.StatusNotFound)
		return
	}
	_, html := m.Bodies()
	headers(w, "text/html; charset=utf-8", mailPolicy)
	_, _ = w.Write([]byte(html)) //nolint:gosec // the reader went away; the policy runs nothing and loads nothing
}

func (i *Inbox) json(w http.ResponseWriter, r *http.Request) {
	after, err := strconv.ParseInt(r.URL.Query().Get("after"), 10, 64)
	if err != nil && r.URL.Query().Has("after") {
		http.Error(w, "after: not a number", http.StatusBadRequest)
		return
	}
	kept := slices.DeleteFunc(i.Messages(), func(m Message) bool { return m.Seq <= after })
	headers(w, "application/json", pagePolicy)
	_ = json.NewEncoder(w).Encode(map[string]any{"total": i.Total(), "messages": kept}) // the client has disconnected
}

func (i *Inbox) named(r *http.Request) (Message, bool) {
	seq, err := strconv.ParseInt(r.PathValue("seq"), 10, 64)
	if err != nil {
		return Message{}, false
	}
	return i.find(seq)
}

func render(w http.ResponseWriter, page string, data any) {
	headers(w, "text/html; charset=utf-8", pagePolicy)
	_ = pages.ExecuteTemplate(w, page, data) // the client has disconnected
}

func headers(w http.ResponseWriter, contentType, policy string) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Security-Policy", policy)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("X-Frame-Options", "SAMEORIGIN") // other handlers use a stricter value; here a frame shows a mail's HTML
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.Header().Set("Cache-Control", "no-store")
}

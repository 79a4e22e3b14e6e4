package app

import (
	"log/slog"
	"net/http"

	"millrace/config"
	"millrace/platform/web"
)

// Route is an operation of a module.
type Route struct {
	Module string
	Method string
	Path   string // a pattern of http.ServeMux: /payments/{id}
}

// Routes lists the operations of all modules, hosted here or not, and registers
// their common description, /openapi.json and /docs, on mux. The list is what the
// modules themselves register. If two modules register the same operation, Routes
// returns an error.
func Routes(mux *http.ServeMux, version string, log *slog.Logger) (all []Route, err error) {
	served := http.NewServeMux() // only its API description is used
	api := web.NewAPI(served, version, log)
	seen := map[Route]string{}
	for _, m := range declared(config.Default()) {
		m.Routes(api)
		for path, item := range api.OpenAPI().Paths {
			for method, there := range map[string]bool{
				http.MethodGet: item.Get != nil, http.MethodPut: item.Put != nil, http.MethodPost: item.Post != nil,
				http.MethodPatch: item.Patch != nil, http.MethodDelete: item.Delete != nil,
				http.MethodHead: item.Head != nil, http.MethodOptions: item.Options != nil,
			} {
				route := Route{Method: method, Path: path}
				if there && seen[route] == "" { // otherwise an earlier module has it
					seen[route] = m.Name()
					all = append(all, Route{m.Name(), method, path})
				}
			}
		}
	}
	for _, pattern := range []string{"GET /openapi.json", "GET /docs", "GET /docs/"} {
		mux.Handle(pattern, served)
	}
	return all, nil
}

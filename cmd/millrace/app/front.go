package app

import (
	"log/slog"
	"net/http"
	"slices"

	"millrace/config"
	"millrace/platform/errs"
	"millrace/platform/web"
)

// Route is an operation of a module.
type Route struct {
	Module string
	Method string
	Path   string // as http.ServeMux takes it: /payments/{id}
}

// Routes lists every operation of all modules, hosted anywhere, and registers
// their common description, /openapi.json and /docs, on mux. It is what the
// modules themselves register; two modules that claim the same operation are
// refused.
func Routes(mux *http.ServeMux, version string, log *slog.Logger) (all []Route, err error) {
	served := http.NewServeMux() // of which only the description is used
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
				if there && seen[route] == "" { // else it is of a module before this one
					seen[route] = m.Name()
					all = append(all, Route{m.Name(), method, path})
				}
			}
		}
		if !slices.ContainsFunc(all, func(r Route) bool { return r.Module == m.Name() }) {
			return nil, errs.New(errs.Unknown, "module %s has no operations", m.Name())
		}
	}
	for _, pattern := range []string{"GET /openapi.json", "GET /docs", "GET /docs/"} {
		mux.Handle(pattern, served)
	}
	return all, nil
}

package web

import "net/http"

// Refuse answers with a problem, for a handler that is not an operation. detail
// must quote nothing from the request.
func Refuse(w http.ResponseWriter, r *http.Request, status int, detail string) {
	writeProblem(w, r, status, detail)
}

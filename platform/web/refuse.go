package web

import "net/http"

// Refuse answers with a problem, for a handler that is no operation. detail is
// for the caller: it repeats nothing that was sent.
func Refuse(w http.ResponseWriter, r *http.Request, status int, detail string) {
	writeProblem(w, r, status, detail)
}

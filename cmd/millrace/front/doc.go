// Package front is the front door of modules that are processes of their own:
// one address that sends each request to the module whose operation it is.
//
// # Routes
//
// The table is derived from the operations that the modules themselves
// register; nothing is written twice, and nothing but these operations is
// passed on: a module's own health checks and start page are not reachable from
// here. A path that no module has is 404, and another method 405, as in one
// process. /openapi.json and /docs describe all modules together.
//
// # Answers
//
// A module's answer passes through as it is, errors too. Where a module cannot
// be reached, breaks off or does not answer within 10 s, the answer is a
// problem of 502 that names the module. The request may have taken effect:
// repeat it with the same Idempotency-Key.
//
// # Limits
//
// Those of package web: 1 MiB of body, 16 KiB of headers, 10 s for a request.
// The request's id is made here unless the caller gave one, and is what the
// module calls it too. Requests that another site's page sends are refused
// here; the module sees a request without a browser's headers about that, from
// this machine. X-Forwarded-For, -Host and -Proto are set anew: a caller's are
// not believed.
//
// # Health
//
// /livez says that the front door runs. /readyz asks the /readyz of every
// module: it is 503 if one is not ready, and says which. The others are served
// all the same. It keeps nothing, so any number of front doors may run.
package front

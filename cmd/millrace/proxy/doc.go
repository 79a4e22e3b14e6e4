// Package proxy is the reverse proxy in front of modules that run as processes of
// their own. It has one address, and forwards each request to the module that
// registered the operation.
//
// # Routes
//
// The routes come from the operations that the modules register. Nothing else is
// forwarded: a module's own health checks and start page cannot be reached through
// the proxy. As in a single process, an unknown path is 404 and a wrong method 405.
// /openapi.json and /docs describe all modules together.
//
// # Answers
//
// A module's response, including an error, is forwarded unchanged. If a module
// cannot be reached, closes the connection or does not answer within 10 s, the
// response is a 502 problem that names the module. The request may have taken
// effect: repeat it with the same Idempotency-Key.
//
// # Limits
//
// The limits are those of package web: 64 KiB of body, 16 KiB of headers, 10 s for a
// request, http.max_requests in flight and http.max_connections. A request is
// forwarded only when its whole body has arrived. The proxy generates the request
// ID unless the caller sent one, and the module uses the same ID.
//
// The proxy refuses requests that another site's page sends, and requests for a
// host that is not in its http.public_hosts. The module gets the request without
// the browser's headers about origin, and with the host of its own address. If
// that address has a name instead of an IP address, the name must be in the
// module's own http.public_hosts: otherwise /readyz fails, the response is 502, and
// the log names the host. X-Forwarded-For, -Host and -Proto are replaced, because a
// caller could forge them.
//
// # Health
//
// /livez answers while the proxy runs. /readyz asks the /readyz of every module. If
// one is not ready, it answers 503 and names the module; the module's address is
// only in the log. Requests to the other modules are still forwarded. The proxy has
// no state, so any number of proxies may run.
package proxy

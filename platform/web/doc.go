// Package web is the program's HTTP side: operations described once and served
// with their documentation, errors that name what is wrong, and a server with
// limits everywhere.
//
// # Operations
//
// [NewAPI] makes the API on a mux; a module registers its operations with
// [Handle]. The description is served as OpenAPI 3.1 at /openapi.json and, for
// people, at /docs; both work without a network, nothing is loaded from
// elsewhere.
//
// # Errors
//
// Every error of an operation, and every refusal of the server around it, is an
// RFC 9457 problem (application/problem+json). A handler that is mounted beside
// the operations, as the development inbox and the health checks are, answers
// its own errors in its own form.
//
// A problem's status is that of the error's kind (package errs). The input at
// fault is named in errors[].location ("body.amount",
// "header.Idempotency-Key"), and errors[].message says what would be accepted.
// Input that does not fit the operation's schema is answered in the same form.
// What this package says about input repeats no value, but for the one character
// at which JSON breaks off, and names no type of the program. A module's own
// text may name the id or the state that a request asked about.
//
// The text of an error is shown only if somebody gave it a kind that is the
// caller's to mend (4xx) and it does not come from the database. Everything
// else is answered with a general sentence and the request's id, and is logged
// with that id. A response of 503 carries Retry-After, in seconds.
//
// # Limits
//
//	body            1 MiB ([MaxBody]); an operation may set less ([MaxCallback])
//	headers         16 KiB, read within 5 s
//	request         read within 10 s, handled within 10 s, written within 30 s
//	idle connection 60 s
//
// # Requests
//
// Each request has an id, a UUID: the caller's X-Request-Id if it is one, else
// a new one. It is answered in X-Request-Id and is the correlation of every
// message that the request causes. Another form of id is replaced, because the
// id is kept for ever with the messages and must not carry text of a caller's.
//
// A panic is answered as an unknown error and does not end the program.
// Requests that a browser sends from another site and that change state are
// refused; calls without a browser's headers pass. There is no sign-in here:
// until there is one, bind to loopback, and refuse foreign names for it
// ([LoopbackOnly], given to [Handler]).
package web

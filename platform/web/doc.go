// Package web provides the program's HTTP API: operations with generated
// documentation, errors that name the invalid input, and a server with limits.
//
// # Operations
//
// [NewAPI] creates the API on a mux; a module registers its operations with
// [Handle]. The description is served as OpenAPI 3.1 at /openapi.json, and for
// people at /docs. Both work without a network: nothing is loaded from other
// servers.
//
// # Errors
//
// Every error of an operation, and every refusal by the server, is an RFC 9457
// problem (application/problem+json). Handlers that are not operations, such as
// the development inbox and the health checks, use their own form.
//
// A problem's status follows from the error's kind (package errs).
// errors[].location names the invalid input ("body.amount",
// "header.Idempotency-Key"), and errors[].message describes what is accepted.
// Input that does not match the operation's schema is answered in the same
// form. The messages of this package quote no value, except the one character
// at a JSON syntax error, and name no Go type. A module's messages may name the
// ID or the state that a request asked about.
//
// An error's text is shown only if its kind means that the caller can correct
// it (4xx) and it does not come from the database. All other errors are
// answered with a general sentence and the request's ID, and are logged with
// that ID. A 503 response carries Retry-After, in seconds.
//
// A violation of a database constraint that no module handles is logged at
// error level, with the constraint's name and what to do. A unique violation is
// answered with 500: modules handle the keys that callers choose, so the
// program itself made the colliding key. Other violations are answered with
// 409.
//
// # Input
//
// A body is JSON in UTF-8 with Content-Type application/json (also
// application/…+json), in any case and with parameters. A missing or other
// type, another charset, and a compressed body are answered with 415. Invalid
// JSON, invalid UTF-8 and unpaired surrogates are answered with 400. Everything
// else is answered with 422, with all findings at once:
//
//   - names that are unknown, in another case, or repeated, in objects of any
//     depth, in the query, and in the headers that the operation reads;
//   - whole numbers not written in digits or outside their type's range; null;
//   - text that breaks the rules of package text. A string without a pattern,
//     an enumeration or a format is a single line; the tag format:"multiline"
//     is for messages. The handler gets the normalized text, and length limits
//     apply to it.
//
// # Conditions
//
// A change can be conditional on the thing's state: If-Match with the ETag of
// an earlier answer, or expectedStatus. A module embeds [IfMatch] in the
// operation's input and checks the condition under the lock of the change. A
// failed condition is 412 or 409, and the problem's member "current" contains
// the current status and version. Without a condition the last change wins.
//
// # Repeated requests
//
// An operation with the header Idempotency-Key may be repeated after a lost
// answer ([IdempotencyKey], [Once]). The same key with the same body has no
// second effect and gets the first one's answer, even if the thing has changed
// since; the same key with another body is 422. A key belongs to its operation
// and principal. A refused request does not use up its key, unless the refusal
// is an outcome that its module stores, as payment's 409. A key is kept as long
// as its module's data. A repeated answer has no ETag, and conditions are not
// checked again.
//
// # Limits
//
//	body            64 KiB ([MaxBody]), received within 5 s, before the request is handled
//	findings        20 in one answer; detail counts the others
//	list            200 entries a page ([Page]); 100 in a nested list ([MaxNested])
//	headers         16 KiB, received within 5 s
//	request         received within 10 s, handled within 10 s, answered within 30 s
//	idle connection 60 s
//	requests        limited ([Limits]); further ones wait up to 1 s, then get 503 with Retry-After
//	probes          /livez and /readyz 8 each, /metrics 2, separate from other requests
//	connections     limited; beyond that, the one that has waited longest for its client is closed
//
// # Requests
//
// Each request has an ID, a UUID: the caller's X-Request-Id if that is a UUID,
// else a new one. It is returned in X-Request-Id, and is the correlation ID of
// all messages that the request causes. Other values are replaced, because the
// ID is stored with the messages permanently and must not contain a caller's
// text.
//
// A panic is answered as an unknown error and does not end the program.
// State-changing requests that a browser sends from another site are refused;
// calls without a browser's headers pass. Requests for a host that is not this
// server's are refused ([Hosts], passed to [Handler]). WARNING: there is no
// sign-in; until there is one, listen on a loopback address only.
package web

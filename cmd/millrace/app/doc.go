// Package app assembles the program: it lists every module, gives each its
// database handle and its part of the configuration, and starts and stops them in
// an order that loses nothing. The program and the end-to-end tests run the same
// App.
//
// # Start
//
// [New] does, in this order:
//
//   - It listens on the port, so that a second start fails at once. Until the
//     program is ready, /livez answers 200, /readyz 503 with the current step of
//     the start, and every other path 503 with Retry-After.
//   - It starts the embedded server if no database is configured, and in
//     development the gateway simulator and the mail inbox unless others are
//     configured.
//   - It refuses pools that exceed the server's max_connections.
//   - It migrates every schema if its database user owns the tables. Otherwise it
//     refuses schemas that are behind, and missing rights.
//   - It checks the messages of all modules against each other, including modules
//     that other processes host.
//
// [App.Run] then handles messages and answers requests, and closes [App.Ready].
//
// # Shutdown
//
// When its context ends, Run accepts no more requests, finishes those in flight
// (10 s at most), lets the handlers finish (5 s), then the modules' background
// work (9 s), and returns nil. This takes 21 s at most, even if a step hangs.
// Work that is cut off is not lost: its transaction is rolled back, and the
// message or outbound call is processed again after the next start. If the router,
// a module's background work, the HTTP server or the embedded database ends by
// itself, Run stops the rest in the same way and returns an error. [App.Close]
// frees what New took.
package app

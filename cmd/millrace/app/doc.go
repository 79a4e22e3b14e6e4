// Package app puts the program together: it knows every module, gives each its
// database handle and its part of the configuration, and starts and ends all of
// it in an order that loses nothing. The program and the end-to-end tests run
// the same App.
//
// # Start
//
// [New] takes the port first, so that a second start fails at once; starts the
// embedded server if no database is configured, and in development the gateway
// simulator and the mail inbox unless others are; refuses pools that do not fit
// the server's max_connections; migrates every schema if its database user owns
// them, and else refuses those that are behind, and rights that are missing; and
// checks the messages of all modules against each other, hosted here or not.
// [App.Run] then handles messages and answers requests; [App.Ready] tells when.
//
// # End
//
// When its context ends, Run takes no more requests, finishes those that are
// being answered (10 s at most), lets the handlers finish (5 s), then the
// modules' background work (9 s), and returns nil; all of it takes 21 s at most,
// whatever hangs. What was cut then is not lost: its transaction is
// rolled back, and the message or the intent is taken up again at the next
// start. If the router, a module's background work, the HTTP server or the
// embedded database ends by itself, Run ends the rest in the same way and
// returns an error. [App.Close] gives back what New took.
package app

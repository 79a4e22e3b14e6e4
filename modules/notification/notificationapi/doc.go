// Package notificationapi is what other modules may know of notification: the
// command it handles and the events it publishes.
//
// Whoever sends [Send] expects the user to be told. Notification knows the
// user's e-mail and language; a user it does not know yet is told later, when
// the contact is there. E-mail is at least once: a mail may arrive twice, with
// one and the same Message-ID, if the process dies between the server's
// acceptance and our record of it.
//
// For each notification exactly one of [Sent] and [Failed] is published, once.
// Neither they nor a Send carry personal data: the names, addresses and texts
// that a mail shows come from notification's own tables and templates.
package notificationapi

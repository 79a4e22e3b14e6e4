// Package notificationapi is the contract of the module notification: the
// command that it handles and the events that it publishes.
//
// A module sends [Send] to notify a user. Notification knows the user's e-mail
// address and language; if it has no contact yet, the notification waits until
// there is one. Mails are sent at least once: if the process dies after the
// mail server accepted a mail and before that was recorded, the mail is sent
// again with the same Message-ID.
//
// For each notification exactly one of [Sent] and [Failed] is published, once.
// The events and Send carry no personal data: the names, addresses and texts of
// a mail come from notification's own tables and templates.
package notificationapi

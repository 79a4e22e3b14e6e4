// Package inquiryapi is the contract of the module inquiry, the chat between a
// customer and a hospital: the events that it publishes.
//
// Each consultation has one room. [CardPosted] is published when a status card
// is posted in it, [MessagePosted] when a customer or hospital posts a message.
// Neither contains a text: messages stay in the module, and a card's text
// follows from its fields.
//
// The key of both events is the decimal consultation ID. Position is the
// entry's number in the room: 1, 2, 3, … without gaps, over cards and messages
// together.
package inquiryapi
